"""Whitening of a trained embedding (Radenović, Tolias, Chum; TPAMI 2019, arXiv:1711.02512, section 3.3)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Lt
from torch import nn

from compress.contracts import BadInput, Data, Model, Stage, TrainingPairs
from compress.model.reference import embed
from compress.stages._linear_end import inputs_of, linear_end
from compress.system.progress import say

_REMEDY = "take the whitening in; set model.architecture: gem and model.dim, or projected"


@dataclass(frozen=True, kw_only=True)
class Whiten(Stage):
    """Fit a linear map to the training images' embeddings and fold it into the layer that ends the network.

    Exported files do not grow. The classifier is adapted so that its logits do not change. The network must end in a
    linear layer: ``model: {architecture: gem, dim: 128}``, or ``projected``.

    Attributes:
        method: ``supervised`` whitens the differences between images of one class, or of the pairs that the data set
            lists, so that directions that vary within them count less (eq. 9 there); ``pca`` whitens the differences
            between any two images.
        reduce: fit the layer to what enters it, instead of adapting what it has learnt: whitening, then the directions
            in which whitened features vary most, as many as the layer has outputs (section 3.3 there; the features are
            not normalised before it). The classifier then names the nearest class mean.
        shrink: share by which the covariance is moved towards a multiple of the identity. With 0, directions that
            hardly vary in the training images, e.g. if there are more dimensions than images, dominate all others.
    """

    method: Literal["supervised", "pca"] = "supervised"
    reduce: bool = False
    shrink: Annotated[float, Ge(0), Lt(1)] = 0.1

    def check(self, model: Model) -> Model:
        layer, _, _ = linear_end(model, _REMEDY)
        if self.reduce and layer.out_channels > layer.in_channels:
            raise BadInput(
                f"reduce: {layer.in_channels} values enter the last layer, which cannot be reduced to "
                f"{layer.out_channels}; set model.dim={layer.in_channels} or less"
            )
        return replace(model, space=None)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        """The network with the whitening folded in, in a new embedding space.

        Raises:
            BadInput: no class has two training images, or all embeddings are alike.
        """
        model = replace(model, network=copy.deepcopy(model.network))
        layer, bias, classifier = linear_end(model, _REMEDY)
        if self.reduce:
            features = inputs_of(model, layer, data.train.images)
        else:
            bare = replace(model, embedding=replace(model.embedding, distance="l2"))
            features = embed(bare, data.train.images).astype(np.float64)
        whitening = whitening_of_covariance(self._covariance(features, data), self.shrink)
        line = {"stage": "whiten", "method": self.method, "images": len(features)}
        if self.reduce:
            _reduce(layer, bias, classifier, features, data.train.labels, whitening)
            say(f"whiten: {self.method}, {layer.out_channels} of {layer.in_channels} directions")
        else:
            _adapt(layer, bias, classifier, features, torch.from_numpy(whitening))
            say(f"whiten: {self.method}, from {len(features):,} training images")
        return replace(model, history=(*model.history, line), space=None, ranges={})

    def _covariance(self, features: np.ndarray, data: Data) -> np.ndarray:
        """Of the differences that are to become alike in all directions: float64 [D, D]."""
        if self.method == "supervised" and data.pairs is not None:
            return covariance_of_pairs(features, data.pairs)
        labels = data.train.labels if self.method == "supervised" else np.zeros(len(features), dtype=np.int64)
        return covariance_within(features, labels)


@torch.no_grad()
def _adapt(
    layer: nn.Conv2d, bias: torch.Tensor, classifier: nn.Linear, features: np.ndarray, whitening: torch.Tensor
) -> None:
    """Whiten what the layer gives; the classifier's logits stay what they were."""
    center = torch.from_numpy(features.mean(axis=0))
    weight = layer.weight.flatten(1).double()
    layer.weight.copy_((whitening @ weight).reshape(layer.weight.shape))
    bias.copy_(whitening @ (bias.double() - center))
    rows = classifier.weight.double()
    classifier.bias.copy_(classifier.bias.double() + rows @ center)
    classifier.weight.copy_(rows @ torch.linalg.inv(whitening))


@torch.no_grad()
def _reduce(
    layer: nn.Conv2d,
    bias: torch.Tensor,
    classifier: nn.Linear,
    features: np.ndarray,
    labels: np.ndarray,
    whitening: np.ndarray,
) -> None:
    """Make the layer whitening and reduction of what enters it, and the classifier that of the nearest class mean."""
    center = features.mean(axis=0)
    whitened = (features - center) @ whitening.T
    _, directions = np.linalg.eigh(whitened.T @ whitened)
    kept = directions[:, ::-1][:, : layer.out_channels].T
    # Libraries choose an eigenvector's sign freely; this choice is the same everywhere.
    kept = kept * np.sign(np.take_along_axis(kept, np.abs(kept).argmax(axis=1)[:, None], axis=1))
    weight = kept @ whitening
    layer.weight.copy_(torch.from_numpy(weight).reshape(layer.weight.shape))
    bias.copy_(torch.from_numpy(-weight @ center))
    reduced = whitened @ kept.T
    weights = np.zeros(tuple(classifier.weight.shape))
    offsets = np.full(len(weights), -1e9)  # of classes that do not train
    for label in np.unique(labels):
        mean = reduced[labels == label].mean(axis=0)
        weights[label], offsets[label] = mean, -np.square(mean).sum() / 2
    classifier.weight.copy_(torch.from_numpy(weights))
    classifier.bias.copy_(torch.from_numpy(offsets))


def whitening_of(features: np.ndarray, labels: np.ndarray, shrink: float) -> np.ndarray:
    """The inverse square root of the covariance within classes, float64 [D, D]; arguments and errors as below."""
    return whitening_of_covariance(covariance_within(features, labels), shrink)


def covariance_within(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The covariance within classes, float64 [D, D].

    Args:
        features: float64 [N, D].
        labels: int64 [N]; if all are equal, the covariance is that of all features.
    """
    _, own = np.unique(labels, return_inverse=True)
    sizes = np.bincount(own)
    means = np.stack([np.bincount(own, weights=column) for column in features.T], axis=1) / sizes[:, None]
    within = features - means[own]
    return np.asarray(within.T @ within / max(1, len(features) - len(sizes)))


def covariance_of_pairs(features: np.ndarray, pairs: TrainingPairs) -> np.ndarray:
    """Half the mean square of the pairs' differences (eq. 9 up to the factor), float64 [D, D]."""
    differences = features[pairs.queries] - features[pairs.positives]
    return np.asarray(differences.T @ differences / (2 * len(differences)))


def whitening_of_covariance(covariance: np.ndarray, shrink: float) -> np.ndarray:
    """The inverse square root of a covariance, float64 [D, D].

    Args:
        shrink: share of the identity matrix, which is scaled to the same trace.

    Raises:
        BadInput: the covariance is zero.
    """
    level = float(np.trace(covariance)) / len(covariance)
    if level <= 0:
        raise BadInput("whiten: no training image's embedding differs from its class's others; train the network first")
    values, vectors = np.linalg.eigh((1 - shrink) * covariance + shrink * level * np.eye(len(covariance)))
    # Relative to the mean variance, so that embeddings keep their size.
    scales = np.sqrt(level / np.maximum(values, 1e-12 * level))
    return np.asarray((vectors * scales) @ vectors.T)
