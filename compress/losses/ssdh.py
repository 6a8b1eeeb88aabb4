"""Semantics-preserving deep hashing, SSDH (Yang, Lin, Chen; TPAMI 2018, arXiv:1507.00101, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from compress.contracts import BadInput, Loss
from compress.contracts.networks import RetrievalNetwork


class _SsdhLoss(nn.Module):
    def __init__(self, classification: float, binary: float, balance: float) -> None:
        super().__init__()
        self.classification = classification
        self.binary = binary
        self.balance = balance

    def forward(self, embeddings: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        centred = embeddings - 0.5
        spread = centred.square().mean()
        bias = centred.mean(dim=1).square().mean()
        loss: Tensor = (
            self.classification * F.cross_entropy(logits, labels) - self.binary * spread + self.balance * bias
        )
        return loss


@dataclass(frozen=True, kw_only=True)
class Ssdh(Loss):
    """Classify, and make the bits of the codes certain and balanced: alpha E1 + beta E2 + gamma E3.

    N images have K activations a_n in [0, 1]^K each. E1 is the softmax cross-entropy of a linear classifier on the
    activations. E2 = -1/(N K) sum_n |a_n - 0.5|^2 moves every activation away from the threshold, and
    E3 = 1/N sum_n (mean(a_n) - 0.5)^2 makes half of each image's bits 1. All are means over images here, so that the
    weights do not depend on the batch size.

    The authors set all three weights to 1, but the layers of their code divide E2 and E3, which are means already, by
    twice the batch size again, 64 at their batch of 32. The defaults are these weights.

    Attributes:
        classification, binary, balance: alpha, beta and gamma.
    """

    classification: Annotated[float, Ge(0)] = 1.0
    binary: Annotated[float, Ge(0)] = 1 / 64
    balance: Annotated[float, Ge(0)] = 1 / 64

    def check(self, network: RetrievalNetwork) -> None:
        if network.code_layer() is None or not isinstance(network.classifier, nn.Linear):
            raise BadInput(
                "loss: ssdh needs a linear classifier on activations in [0, 1]; set model.architecture: deep_hash and "
                "model.classifier: linear"
            )

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        return _SsdhLoss(self.classification, self.binary, self.balance)
