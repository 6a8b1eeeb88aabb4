"""The common part of metric-learning losses: pytorch-metric-learning's modules, called like every loss here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from compress.contracts import Distance, Loss, MissingTool
from compress.contracts.networks import RetrievalNetwork
from compress.system import environment


@dataclass(frozen=True, kw_only=True)
class MetricLoss(Loss):
    """Compares L2-normalised embeddings with one another, or with one learnt vector per class; uses no logits."""

    distance: ClassVar[Distance | None] = "cosine"
    classifies: ClassVar[bool] = False

    def check(self, network: RetrievalNetwork) -> None:
        if environment.version("pytorch-metric-learning") is None:
            raise MissingTool(
                f"loss: {self.component_name()} needs pytorch-metric-learning, not installed here; "
                'install with: pip install "compress-retrieval[train]"'
            )


class Mined(nn.Module):
    """A loss of pytorch-metric-learning on all pairs or triplets of a batch, or on those that its miner selects."""

    def __init__(self, loss: Any, miner: Any = None) -> None:
        super().__init__()
        self.loss = loss
        self.miner = miner

    def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        picked = None if self.miner is None else self.miner(embeddings, labels)
        loss: torch.Tensor = self.loss(embeddings, labels, picked)
        return loss
