"""Softmax cross-entropy on the classifier's logits, the papers' training objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import nn
from torch.nn import functional as F

from compress.contracts import Loss


class _CrossEntropyLoss(nn.Module):
    def __init__(self, label_smoothing: float) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy between logits and labels, the mean over images.

    Attributes:
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).
    """

    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        return _CrossEntropyLoss(self.label_smoothing)
