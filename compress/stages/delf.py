"""DELF's second step (Noh et al., ICCV 2017, section 3): PCA, then attention, on a trained and frozen trunk."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge

from architectures.delf import DelfNetwork
from compress.contracts import LOCAL_DIM, BadInput, Data, Division, ImageSet, Model, Preprocess, Stage, flat_field
from compress.data.batches import batches
from compress.stages._fit import fit
from compress.stages._graph import per_channel
from compress.stages._training import Training
from compress.system.progress import say

_BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Delf(Stage):
    """Reduce the features of a trained ``delf`` network by PCA, and train its attention; the trunk is not changed.

    PCA is fitted to the training images' features, weighted with the scores of the attention as ``train`` left it. Then
    the attention and the classifier get fresh weights and are trained, as in ``train``, to classify the weighted sum of
    the features. The paper sums the features before PCA; here the reduced features, which the artifact gives, are
    summed.

    Attributes:
        pca_images: at most this many training images, evenly spaced, are used to fit PCA.
    """

    training: Training = flat_field(Training, epochs=20, freeze=("trunk", "reduction"))
    pca_images: Annotated[int, Ge(1)] = 1000

    def check(self, model: Model) -> Model:
        _local_features(model)
        self.training.check(model)
        return model

    def check_data(self, division: Division) -> None:
        self.training.check_data(division)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        model = replace(model, network=copy.deepcopy(model.network))
        network = _local_features(model)
        explained = _fit_pca(network, model.preprocess, data.train, self.pca_images)
        say(f"{self.component_name()}: {LOCAL_DIM} components explain {explained:.3f} of the features' variance")
        torch.manual_seed(seed)
        network.forget_attention()
        return fit("delf", self.training, model, data, seed=seed, scratch=scratch).model


def _local_features(model: Model) -> DelfNetwork:
    if not isinstance(model.network, DelfNetwork):
        raise BadInput(f"{model.architecture.component_name()} gives no local features; set model.architecture: delf")
    return model.network


@torch.no_grad()
def _fit_pca(network: DelfNetwork, preprocess: Preprocess, images: ImageSet, count: int) -> float:
    """Set ``reduction`` to the first 40 principal components of the features; returns their share of the variance."""
    network.eval()
    mean, std = per_channel(preprocess.mean), per_channel(preprocess.std)
    weight, channels = torch.zeros((), dtype=torch.float64), network.reduction.in_channels
    sums = torch.zeros(channels, dtype=torch.float64)
    products = torch.zeros(channels, channels, dtype=torch.float64)
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.int64)
    for batch, _ in batches(images, _BATCH, chosen):
        pixels = (torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255 - mean) / std
        features, scores = network.descriptors(pixels)
        features, scores = features.flatten(0, 1), scores.flatten()
        weight += scores.sum(dtype=torch.float64)
        sums += (scores @ features).double()
        products += (features.T * scores @ features).double()
    centre = sums / weight
    variances, directions = torch.linalg.eigh(products / weight - torch.outer(centre, centre))
    kept = directions[:, -LOCAL_DIM:].flip(1).T
    # Libraries choose an eigenvector's sign freely; this choice is the same everywhere.
    kept = kept * kept.gather(1, kept.abs().argmax(1, keepdim=True)).sign()
    network.reduce_by(kept, centre)
    return float(variances[-LOCAL_DIM:].sum() / variances.sum())
