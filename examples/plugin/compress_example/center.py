"""Center loss (Wen et al., ECCV 2016): cross-entropy, and every embedding near the mean of its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from compress.contracts import Loss


@dataclass(frozen=True, kw_only=True)
class Center(Loss):
    """Softmax cross-entropy plus half the squared distance from a learnt centre per class.

    Attributes:
        weight: factor of the second term.
    """

    weight: Annotated[float, Ge(0)] = 0.01

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        return _CenterLoss(embedding_dim, num_classes, self.weight)


class _CenterLoss(nn.Module):
    def __init__(self, embedding_dim: int, num_classes: int, weight: float) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(num_classes, embedding_dim))
        self.weight = weight

    def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        spread = (embeddings - self.centers[labels]).square().sum(1).mean() / 2
        return F.cross_entropy(logits, labels) + self.weight * spread
