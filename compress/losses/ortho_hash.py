"""OrthoHash: one cosine-margin loss towards orthogonal target codes (Hoe et al., NeurIPS 2021, arXiv:2109.14449)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import nn
from torch.nn import functional as F

from architectures.layers.target_codes import TargetCodes
from compress.contracts import BadInput, Loss
from compress.contracts.networks import RetrievalNetwork


class _OrthoHashLoss(nn.Module):
    def __init__(self, scale: float, margin: float) -> None:
        super().__init__()
        self.scale = scale
        self.margin = margin

    def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        own = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        return F.cross_entropy(self.scale * (logits - self.margin * own), labels)


@dataclass(frozen=True, kw_only=True)
class OrthoHash(Loss):
    """Softmax cross-entropy of ``scale`` * (cosine - ``margin`` at the right class), eq. 4 there.

    The cosines are the logits of ``deep_hash`` with ``classifier: orthogonal``, between a class's +-1 code and
    2 * activations - 1. The cosine is highest at a corner of the hypercube, so the loss needs no second term for
    quantization.

    Attributes:
        scale: factor of the cosines; the default is that of the authors' code.
        margin: subtracted from the cosine of the right class; the default is that of the authors' code.
    """

    scale: Annotated[float, Gt(0)] = 8.0
    margin: Annotated[float, Ge(0), Le(1)] = 0.2

    def check(self, network: RetrievalNetwork) -> None:
        if not isinstance(network.classifier, TargetCodes):
            raise BadInput(
                "train.loss: ortho_hash needs logits that are cosines with target codes; "
                "set model.architecture: deep_hash and model.classifier: orthogonal"
            )

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        return _OrthoHashLoss(self.scale, self.margin)
