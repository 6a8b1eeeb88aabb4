"""Several teachers as one network: each sees the image at its own size, and their features are concatenated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compress.contracts import BadInput, Model, Preprocess
from compress.contracts.networks import RetrievalNetwork
from compress.model.identity import model_sha256
from compress.stages._directions import directions_of
from compress.stages._graph import renormalisation


class JoinedTeachers(RetrievalNetwork):
    """Takes images as the student does. The networks' features have equal lengths; concatenated they have length 1.

    Attributes:
        features_dim: D, number of concatenated values.
        center, reduction: float32 [D] and [D, d]: the embedding is ``(features - center) @ reduction``. Empty until
            ``reduce`` sets them: the embedding is the features.
        identity: what decides the features of an image that the student's preprocessing gives, as JSON.
    """

    center: torch.Tensor
    reduction: torch.Tensor

    def __init__(self, models: Sequence[Model], sizes: Sequence[tuple[int, int]], student: Preprocess) -> None:
        """Join the networks.

        Args:
            sizes: height and width at which each network sees the image.
            student: how the images that ``embed`` gets are normalised.
        """
        super().__init__()
        self.networks = nn.ModuleList(model.network for model in models)
        self.sizes = tuple(sizes)
        for number, model in enumerate(models):
            scale, shift = renormalisation(student, model.preprocess)
            self.register_buffer(f"scale{number}", scale)
            self.register_buffer(f"shift{number}", shift)
        self.identity = [
            [model_sha256(model), asdict(model.preprocess), size] for model, size in zip(models, sizes, strict=True)
        ]
        self.embedding_dim = self.features_dim = sum(model.embedding.dim for model in models)
        self.classifier = None
        self.register_buffer("center", torch.empty(0))
        self.register_buffer("reduction", torch.empty(0))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self.reduced(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The concatenated features, of length 1: float32 [N, D]."""
        found = []
        for number, (network, size) in enumerate(zip(self.networks, self.sizes, strict=True)):
            own = x * self.get_buffer(f"scale{number}") + self.get_buffer(f"shift{number}")
            if tuple(own.shape[2:]) != size:
                own = F.interpolate(own, size, mode="bilinear", antialias=True)
            assert isinstance(network, RetrievalNetwork)
            found.append(F.normalize(network.embed(own)))
        return torch.cat(found, dim=1) / math.sqrt(len(found))

    def reduced(self, features: torch.Tensor) -> torch.Tensor:
        """The embedding of features float32 [N, D]."""
        return (features - self.center) @ self.reduction if self.reduction.numel() else features

    def reduce(self, center: np.ndarray, reduction: np.ndarray) -> None:
        """Let the embedding be ``(features - center) @ reduction``, of float64 [D] and [D, d]."""
        self.center, self.reduction = (torch.from_numpy(values).float() for values in (center, reduction))
        self.embedding_dim = reduction.shape[1]


def fitted_reduction(method: str, dim: int, features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, float64 [D], and the linear map, float64 [D, dim], that ``JoinedTeachers.reduce`` takes.

    Args:
        method: ``pca``, the directions in which the features vary most; or ``discriminant``, those in which the
            classes differ most relative to the differences within them.
        features: float64 [N, D], of the training images that have labels.
        labels: int64 [N].

    Raises:
        BadInput: the features have fewer such directions.
    """
    center = features.mean(axis=0)
    if method == "discriminant":
        directions = directions_of(features, labels, "ledoit_wolf").directions
    else:
        _, values, rows = np.linalg.svd(features - center, full_matrices=False)
        # Libraries choose a direction's sign freely; this choice is the same everywhere.
        rows = rows * np.sign(np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1))
        directions = rows[values > 1e-9 * values.max(initial=0)].T
    if directions.shape[1] < dim:
        raise BadInput(
            f"reduce.{method}: the teachers' features differ in {directions.shape[1]} directions on these training "
            f"images, not in {dim}; set it to {directions.shape[1]} or less"
        )
    return center, directions[:, :dim]
