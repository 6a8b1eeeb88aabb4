"""Image pyramids inside a network: resizing, and vectors of unit length."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_LEAST_SQUARE = 1e-4
"""Shorter vectors are noise and are not scaled up to length 1."""


def resized(image: torch.Tensor, size: int) -> torch.Tensor:
    """[N, 3, H, W] -> [N, 3, size, size]; bilinear between the centres of pixels, as every runtime here has it."""
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False)


def unit(features: torch.Tensor) -> torch.Tensor:
    """Scale each position's vector of [N, C, h, w] to length 1.

    ``F.normalize`` is not used: LiteRT's converter cannot change the layout of its expanded divisor, and its smallest
    length is 0 in half precision.
    """
    return features * features.square().sum(1, keepdim=True).clamp(min=_LEAST_SQUARE).rsqrt()
