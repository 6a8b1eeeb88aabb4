"""Slices and look-ups."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from validators.mlprogram.ops._registry import Bools, Ints, operation


@operation("slice_by_index")
def slice_by_index(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """NumPy's ``x[begin:end:stride]`` per axis; a mask ignores that bound, or takes the one element at ``begin``."""
    nothing = (False,) * x.ndim
    begin_mask, end_mask, squeeze_mask = begin_mask or nothing, end_mask or nothing, squeeze_mask or nothing
    for axis in reversed(range(x.ndim)):
        if squeeze_mask[axis]:
            x = x.select(axis, begin[axis])
            continue
        bounds = slice(
            None if begin_mask[axis] else begin[axis],
            None if end_mask[axis] else end[axis],
            stride[axis] if stride else 1,
        )
        chosen = range(x.shape[axis])[bounds]
        if chosen != range(x.shape[axis]):
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.long))
    return x


@operation("slice_by_size")
def slice_by_size(x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """Take ``size`` elements from ``begin`` on each axis; -1 takes the rest."""
    for axis, (start, count) in enumerate(zip(begin, size, strict=True)):
        start %= x.shape[axis]
        x = x.narrow(axis, start, x.shape[axis] - start if count == -1 else count)
    return x


@operation("gather")
def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """Slices of ``x`` along ``axis``, in the order of ``indices``, whose shape replaces that axis.

    The first ``batch_dims`` axes of both are batch axes. Negative indices count from the end.
    """
    axis %= x.ndim
    if batch_dims:
        pairs = zip(x.unbind(0), indices.unbind(0), strict=True)
        return torch.stack([gather(one, index, axis - 1, batch_dims - 1) for one, index in pairs])
    wanted = torch.remainder(indices.long(), x.shape[axis])
    return x.index_select(axis, wanted.flatten()).reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@operation("gather_along_axis")
def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    """NumPy's ``take_along_axis``."""
    return x.gather(axis, torch.remainder(indices.long(), x.shape[axis]))


@operation("gather_nd")
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """The last axis of ``indices`` addresses the first axes of ``x`` after the ``batch_dims`` they share."""
    if batch_dims:
        pairs = zip(x.unbind(0), indices.unbind(0), strict=True)
        return torch.stack([gather_nd(one, index, batch_dims - 1) for one, index in pairs])
    return x[tuple(indices.long().unbind(-1))]


@operation("one_hot")
def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    hot = (indices.long().unsqueeze(-1) == torch.arange(one_hot_vector_size)).movedim(-1, axis)
    on = torch.tensor(1) if on_value is None else on_value.reshape(())
    off = torch.tensor(0) if off_value is None else off_value.reshape(())
    return torch.where(hot, on, off)


@operation("sliding_windows")
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """All windows along ``axis``; a new axis after it holds the elements of a window."""
    return x.unfold(axis, size, stride).movedim(-1, axis % x.ndim + 1)


@operation("crop")
def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """Cut (first, last) rows and columns off."""
    return F.pad(x, [-crop_width[0], -crop_width[1], -crop_height[0], -crop_height[1]])
