"""Resizing of the last two axes."""

from __future__ import annotations

import torch
from torch import Tensor

from validators.mlprogram.ops._registry import Ints, operation


@operation("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    return _nearest(x, int(x.shape[-2] * scale_factor_height), int(x.shape[-1] * scale_factor_width))


@operation("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    return _nearest(x, target_size_height, target_size_width)


@operation("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """The scale is computed from the rounded output size; ``half_pixel_centers`` defaults to not ``align_corners``."""
    half = not align_corners if half_pixel_centers is None else half_pixel_centers
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    return _bilinear(x, int(x.shape[-2] * scale_factor_height), int(x.shape[-1] * scale_factor_width), mode)


@operation("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _bilinear(x, target_size_height, target_size_width, sampling_mode)


@operation("resize")
def resize(
    x: Tensor, shape: Ints, resized_dims: int, interpolation_mode: str = "LINEAR", sampling_mode: str = "DEFAULT"
) -> Tensor:
    """The last ``resized_dims`` axes get the last sizes of ``shape``; 0 does not change an axis.

    Raises:
        ValueError: more than two axes, or nearest neighbours: coremltools' tests expect rows 0, 1, 1 from 2 to 3 rows,
            where ``resize_nearest_neighbor`` takes 0, 0, 1, and Apple documents no rule.
    """
    if resized_dims > 2:
        raise ValueError(f"resize of {resized_dims} axes is not defined here, only of the last two")
    if interpolation_mode != "LINEAR":
        raise ValueError(
            f"Apple does not document which element resize with {interpolation_mode} takes; use "
            "upsample_nearest_neighbor or resize_nearest_neighbor"
        )
    width = shape[-1] or x.shape[-1]
    height = (shape[-2] if resized_dims == 2 else 0) or x.shape[-2]
    return _bilinear(x, height, width, sampling_mode)


def _nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Output i is input floor(i · size_in / size_out)."""
    for axis, size in ((-2, height), (-1, width)):
        x = x.index_select(axis, torch.arange(size) * x.shape[axis] // size)
    return x


def _bilinear(x: Tensor, height: int, width: int, sampling_mode: str) -> Tensor:
    for axis, size in ((-2, height), (-1, width)):
        points = _grid(x.shape[axis], size, sampling_mode).clamp(0, x.shape[axis] - 1)
        low = points.floor().long()
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        share = (points - low).float()
        if axis == -2:
            share = share[:, None]
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def _grid(source: int, target: int, sampling_mode: str) -> Tensor:
    """The position of each output element on the input, float64; MIL's table under ``resize_bilinear``."""
    i = torch.arange(target, dtype=torch.float64)
    if sampling_mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if target == 1:
            return i + ((source - 1) / 2 if sampling_mode == "ALIGN_CORNERS" else 0)
        return i * (source - 1) / (target - 1)
    if sampling_mode == "DEFAULT":
        return i * source / target
    if sampling_mode == "UNALIGN_CORNERS":
        return (i + 0.5) * source / target - 0.5
    if sampling_mode == "OFFSET_CORNERS":
        return (i + 0.5) * max(1, source - 1) / target
    raise ValueError(f"resize has no sampling mode '{sampling_mode}'")
