"""Generalised-mean pooling (Radenović, Tolias, Chum; TPAMI 2019, arXiv:1711.02512, eq. 3)."""

from __future__ import annotations

import torch
from torch import nn

_SMALLEST = 1e-4
"""A channel whose maximum is less counts as less than it is. Above the least normal half-precision number, 6.1e-5."""


class GeneralizedMean(nn.Module):
    """[N, C, h, w] -> (mean over positions of x^p)^(1/p), [N, C, 1, 1]; what is negative counts as 0.

    p = 1 is the mean of the positions and p = infinity their maximum. Computed relative to each channel's maximum,
    which is the same number, but no power leaves [0, 1]: half precision neither overflows nor divides by zero, whatever
    p was learnt.

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
        # A power below 1 has no gradient at 0, where a channel is dead.
        return largest * mean.clamp(min=_SMALLEST).pow(1 / p)
