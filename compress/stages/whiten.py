"""Whitening of a trained embedding (Radenović, Tolias, Chum; TPAMI 2019, arXiv:1711.02512, section 3.3)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Lt

from compress.contracts import BadInput, Data, Model, Stage
from compress.model.reference import embed
from compress.stages._linear_end import linear_end
from compress.system.progress import say

_REMEDY = "take the whitening in; set model.architecture: gem and model.dim, or projected"


@dataclass(frozen=True, kw_only=True)
class Whiten(Stage):
    """Fit a linear map to the training images' embeddings and fold it into the layer that ends the network.

    Exported files do not grow. The classifier is adapted so that its logits do not change. The network must end in a
    linear layer: ``model: {architecture: gem, dim: 128}``, or ``projected``.

    Attributes:
        method: ``supervised`` whitens the differences between images of one class, so that directions that vary within
            classes count less (eq. 9 there); ``pca`` whitens the differences between any two images.
        shrink: share by which the covariance is moved towards a multiple of the identity. With 0, directions that
            hardly vary in the training images, e.g. if there are more dimensions than images, dominate all others.
    """

    method: Literal["supervised", "pca"] = "supervised"
    shrink: Annotated[float, Ge(0), Lt(1)] = 0.1

    def check(self, model: Model) -> Model:
        linear_end(model, _REMEDY)
        return replace(model, space=None)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        """The network with the whitening folded in, in a new embedding space.

        Raises:
            BadInput: no class has two training images, or all embeddings are alike.
        """
        features = embed(replace(model, embedding=replace(model.embedding, distance="l2")), data.train.images)
        labels = data.train.labels if self.method == "supervised" else np.zeros(len(features), dtype=np.int64)
        whitening = torch.from_numpy(whitening_of(features.astype(np.float64), labels, self.shrink))
        center = torch.from_numpy(features.mean(axis=0, dtype=np.float64))
        model = replace(model, network=copy.deepcopy(model.network))
        layer, bias, classifier = linear_end(model, _REMEDY)
        with torch.no_grad():
            weight = layer.weight.flatten(1).double()
            layer.weight.copy_((whitening @ weight).reshape(layer.weight.shape))
            bias.copy_(whitening @ (bias.double() - center))
            rows = classifier.weight.double()
            classifier.bias.copy_(classifier.bias.double() + rows @ center)
            classifier.weight.copy_(rows @ torch.linalg.inv(whitening))
        say(f"whiten: {self.method}, from {len(features):,} training images")
        line = {"stage": "whiten", "method": self.method, "images": len(features)}
        return replace(model, history=(*model.history, line), space=None, ranges={})


def whitening_of(features: np.ndarray, labels: np.ndarray, shrink: float) -> np.ndarray:
    """The inverse square root of the covariance within classes, float64 [D, D].

    Args:
        features: float64 [N, D].
        labels: int64 [N]; if all are equal, the covariance is that of all features.
        shrink: share of the identity matrix, which is scaled to the same trace.

    Raises:
        BadInput: the covariance is zero.
    """
    _, own = np.unique(labels, return_inverse=True)
    sizes = np.bincount(own)
    means = np.stack([np.bincount(own, weights=column) for column in features.T], axis=1) / sizes[:, None]
    within = features - means[own]
    covariance = within.T @ within / max(1, len(features) - len(sizes))
    level = float(np.trace(covariance)) / len(covariance)
    if level <= 0:
        raise BadInput("whiten: no training image's embedding differs from its class's others; train the network first")
    values, vectors = np.linalg.eigh((1 - shrink) * covariance + shrink * level * np.eye(len(covariance)))
    # Relative to the mean variance, so that embeddings keep their size.
    scales = np.sqrt(level / np.maximum(values, 1e-12 * level))
    return np.asarray((vectors * scales) @ vectors.T)
