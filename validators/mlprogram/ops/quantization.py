"""Activations in 8-bit integers (iOS 17): a pair ``quantize``, ``dequantize`` rounds to the integers' grid."""

from __future__ import annotations

import torch
from torch import Tensor

from validators.mlprogram.ops._axes import per_channel
from validators.mlprogram.ops._registry import operation


@operation("quantize")
def quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: int | None = None
) -> Tensor:
    """clip(round(input / scale) + zero point) to the range of ``output_dtype``; one scale, or one per ``axis``."""
    steps = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        steps = steps + _along(zero_point, input, axis).float()
    limits = torch.iinfo(torch.uint8 if output_dtype == "uint8" else torch.int8)
    return steps.clamp(limits.min, limits.max)


@operation("dequantize")
def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None) -> Tensor:
    """scale · (input - zero point)."""
    steps = input.float()
    if zero_point is not None:
        steps = steps - _along(zero_point, input, axis).float()
    return steps * _along(scale, input, axis)


def _along(parameter: Tensor, data: Tensor, axis: int | None) -> Tensor:
    return parameter if parameter.ndim == 0 or axis is None else per_channel(parameter, data.ndim, axis)
