"""Generalised-mean pooling (Radenović, Tolias, Chum; TPAMI 2019, arXiv:1711.02512, eq. 3)."""

from __future__ import annotations

import torch
from torch import nn

_SMALLEST = 1e-4
"""Channels with a smaller maximum are underestimated. It is above the smallest normal half-precision number, 6.1e-5."""


class GeneralizedMean(nn.Module):
    """Pools [N, C, h, w] to (mean over positions of x^p)^(1/p), [N, C, 1, 1]; negative values count as 0.

    p = 1 is the mean of the positions and p = infinity their maximum. It is computed relative to each channel's
    maximum. The result is the same, but all powers are in [0, 1], so that half precision neither overflows nor divides
    by zero for any learnt p.

    Attributes:
        p: the exponent, float32 [1], learnt; less than 1 counts as 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.p.clamp(min=1)
        x = x.relu()
        largest = x.amax((2, 3), keepdim=True)
        mean = (x / largest.clamp(min=_SMALLEST)).pow(p).mean((2, 3), keepdim=True)
        # A power below 1 has no finite gradient at 0, the value of a dead channel.
        return largest * mean.clamp(min=_SMALLEST).pow(1 / p)
