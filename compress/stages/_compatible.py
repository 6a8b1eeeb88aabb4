"""Training with a term that lets the network search an older model's gallery.

Backward-compatible training (Shen et al., CVPR 2020, arXiv:2003.11942) by contrast with the old gallery, as in Zhang et
al. (ICLR 2022, arXiv:2201.09724): the new embedding of an image must be nearer to the old model's embeddings of its
class than to those of other classes. Several right answers count as in supervised contrastive learning (Khosla et al.
2020, equation 2, arXiv:2004.11362). ``docs/results.md`` compares it with the other published terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compress.contracts import BadInput, ImageSet, Loss, Model
from compress.model.reference import embed
from compress.stages._augment import Augmentation
from compress.stages._graph import TrainingGraph
from compress.stages._mixing import Mixed, Mixing
from compress.stages._policies import AutoAugment
from validators.curves import spread

_DISTANCES = ("l2", "cosine")
_TEMPERATURE = 0.2
_IMAGES = 4096
"""Old embeddings that each new one is compared with, or one per class if there are more classes."""


@dataclass(frozen=True)
class OldGallery:
    """Old embeddings of training images, with which new ones are compared.

    Attributes:
        features: float32 [M, D].
        labels: int64 [M].
        variance: mean squared distance of the features from their mean.
        normalised: whether embeddings are compared by their direction alone.
        weight: factor of the term.
    """

    features: np.ndarray
    labels: np.ndarray
    variance: float
    normalised: bool
    weight: float


def check_pair(old: Model, new: Model) -> None:
    """Raises BadInput if embeddings of ``new`` cannot be trained to search a gallery of ``old``."""
    for key in ("size", "crop"):
        theirs, own = getattr(old.preprocess, key), getattr(new.preprocess, key)
        if theirs != own:
            raise BadInput(f"was trained on images of {key} {theirs}, the data has {own}; set the old one")
    if old.embedding.distance not in _DISTANCES:
        raise BadInput(
            f"compares embeddings by {old.embedding.distance}, which has no such training; rebuild its galleries"
        )
    if old.embedding.distance != new.embedding.distance:
        raise BadInput(
            f"compares embeddings by {old.embedding.distance}, this model by {new.embedding.distance}; set "
            f"model.distance: {old.embedding.distance}"
        )
    if old.embedding.dim > new.embedding.dim:
        raise BadInput(
            f"has embeddings of {old.embedding.dim} values, this model of {new.embedding.dim}, which are too few; set "
            f"model: {{architecture: projected, dim: {old.embedding.dim}, trunk: "
            f"{new.architecture.component_name()}}}"
        )


def old_gallery(old: Model, train: ImageSet, weight: float) -> OldGallery:
    """Embed training images with the old model, unaugmented, as its galleries were made; equally many of each class."""
    rows = spread(train.labels, max(1, _IMAGES // len(np.unique(train.labels))))
    features = embed(old, train.images[rows])
    apart = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    variance = max(float(np.square(apart).sum(axis=1).mean()), float(np.finfo(np.float32).tiny))
    return OldGallery(features, train.labels[rows], variance, old.embedding.distance == "cosine", weight)


class Contrast(nn.Module):
    """Minus the log-probability of an old embedding of the right class, the mean over those embeddings.

    The logit of an old embedding is minus its squared distance, in units of twice the variance times the temperature:
    for embeddings of length 1 around 0 that is the cosine over the temperature. Only the first values of a new
    embedding count, as many as the old model has; the others are free.
    """

    features: torch.Tensor
    labels: torch.Tensor

    def __init__(self, old: OldGallery) -> None:
        super().__init__()
        self.scale, self.normalised = 2 * _TEMPERATURE * old.variance, old.normalised
        self.register_buffer("features", torch.from_numpy(old.features), persistent=False)
        self.register_buffer("labels", torch.from_numpy(old.labels), persistent=False)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        own = embeddings[:, : self.features.shape[1]].float()
        if self.normalised:
            own = F.normalize(own)
        # A query's own squared length changes no probability.
        apart = self.features.square().sum(1) - 2 * own @ self.features.T
        right = (labels[:, None] == self.labels).float()
        chosen = (F.log_softmax(-apart / self.scale, dim=1) * right).sum(1) / right.sum(1)
        return -chosen.mean()


class CompatibleGraph(TrainingGraph):
    """Adds the term to the loss on the labels."""

    def __init__(
        self,
        model: Model,
        augmentation: Augmentation,
        loss: Loss,
        old: OldGallery,
        mixing: Mixing | None = None,
        policy: AutoAugment | None = None,
    ) -> None:
        super().__init__(model, augmentation, loss, mixing, policy)
        self.contrast, self.weight = Contrast(old), old.weight

    def objective(
        self,
        normalised: torch.Tensor,
        embeddings: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        mixed: Mixed | None = None,
        rows: torch.Tensor | None = None,
        epoch: int = 0,
    ) -> torch.Tensor:
        total = super().objective(normalised, embeddings, logits, labels, mixed, rows, epoch)
        term: torch.Tensor = self.contrast(embeddings, labels)
        if mixed is not None:
            term = mixed.loss(term, self.contrast(embeddings, labels[mixed.partners]))
        return total + self.weight * term
