"""Normalisation layers; the defaults of epsilon differ from layer to layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from validators.mlprogram.ops._axes import normalised, per_channel
from validators.mlprogram.ops._registry import Ints, operation


@operation("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma · (x - mean) / sqrt(variance + epsilon) + beta, all [C] along axis 1."""
    scaled = (x - per_channel(mean, x.ndim)) * torch.rsqrt(per_channel(variance, x.ndim) + epsilon)
    return _affine(scaled, gamma, beta)


@operation("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    """Normalise every channel of every sample over its spatial axes."""
    return _affine(_standardised(x, tuple(range(2, x.ndim)), epsilon), gamma, beta)


@operation("layer_norm")
def layer_norm(
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """Normalise over ``axes``, by default all; gamma and beta have the shape of those axes."""
    chosen = normalised(axes, x.ndim) if axes is not None else tuple(range(x.ndim))
    shape = [size if axis in chosen else 1 for axis, size in enumerate(x.shape)]
    result = _standardised(x, chosen, epsilon)
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


@operation("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x / sqrt(sum of x² over the last three axes + epsilon)."""
    return x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


@operation("local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha / size · sum of squares of ``size`` neighbouring channels) ** beta.

    Raises:
        ValueError: not four axes, for which coremltools' tests expect a sum without neighbours, or an even ``size``,
            whose neighbours Apple does not document.
    """
    if x.ndim != 4 or size % 2 == 0:
        raise ValueError(
            f"Apple does not document which {size} channels local_response_norm sums for an input of {x.ndim} axes; "
            "take four axes and an odd size"
        )
    return F.local_response_norm(x, size, alpha, beta, k)


def _standardised(x: Tensor, axes: Ints, epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)


def _affine(x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    if gamma is not None:
        x = x * per_channel(gamma, x.ndim)
    return x if beta is None else x + per_channel(beta, x.ndim)
