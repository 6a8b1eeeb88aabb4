"""Compressed weights: operations that Core ML evaluates when it loads the model.

Two families share some names: iOS 16 packs indices and masks into bytes and adds a ``shape``; iOS 18 stores them as
integers of less than 8 bits and adds blocks, groups and vectors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from validators.mlprogram.ops._axes import per_channel
from validators.mlprogram.ops._registry import Ints, operation
from validators.mlprogram.types import unpack


@operation("constexpr_cast")
def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """Half-precision weights used in single precision."""
    return source_val


@operation("constexpr_affine_dequantize")
def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    """iOS 16: scale · (data - zero point), one for all or one per element of ``axis``."""
    rank = quantized_data.ndim
    zero_point, scale = (per_channel(p, rank, axis) if p.ndim else p for p in (zero_point.float(), scale))
    return scale * (quantized_data.float() - zero_point)


@operation("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """iOS 18: scale · (data - offset), one per block of data.shape / scale.shape elements."""
    steps = data.float()
    if offset is not None:
        steps = steps - _per_element(offset.float(), data)
    return steps * _per_element(scale, data)


@operation("constexpr_lut_to_dense")
def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Ints | None = None, vector_axis: int | None = None
) -> Tensor:
    """Palettes. iOS 16: one of 2ⁿ values, indices packed in n bits each. iOS 18: see ``_from_palettes``."""
    if shape is None:
        return _from_palettes(indices, lut, vector_axis)
    count = math.prod(shape)
    unpacked = unpack(indices.numpy(), int(math.log2(lut.numel())), count)
    return lut[torch.from_numpy(unpacked).long()].reshape(shape)


@operation("constexpr_sparse_to_dense")
def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Ints | None = None) -> Tensor:
    """Zero where the mask is 0; the other values are in row-major order. iOS 16 packs the mask in bits."""
    if shape is not None:
        mask = torch.from_numpy(unpack(mask.numpy(), 1, math.prod(shape))).reshape(shape)
    return _scattered(nonzero_data, mask)


@operation("constexpr_lut_to_sparse")
def constexpr_lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """iOS 18: palettes of a sparse tensor -> (its mask, its values), for ``constexpr_sparse_to_dense``."""
    mask = indices_mask
    dense = _from_palettes(_scattered(indices_nonzero_data, mask), lut, vector_axis)
    if lut.shape[-1] > 1:
        assert vector_axis is not None
        mask = mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, dense[mask != 0]


@operation("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """iOS 18: integers of a sparse tensor -> (its mask, its values), for ``constexpr_sparse_to_dense``."""
    dense = constexpr_blockwise_shift_scale(_scattered(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


def _scattered(values: Tensor, mask: Tensor) -> Tensor:
    dense = torch.zeros(mask.shape, dtype=values.dtype)
    dense[mask != 0] = values
    return dense


def _per_element(parameter: Tensor, data: Tensor) -> Tensor:
    """Repeat each value over its block."""
    for axis, (blocks, size) in enumerate(zip(parameter.shape, data.shape, strict=True)):
        if blocks != size:
            parameter = parameter.repeat_interleave(size // blocks, axis)
    return parameter


def _from_palettes(indices: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """``lut`` [*groups, palette, V] for ``indices`` [*sizes]: element i is row indices[i] of its group's palette.

    Vectors longer than 1 are along ``vector_axis``.
    """
    *groups, palette, length = lut.shape
    table = torch.zeros(indices.shape, dtype=torch.long)
    for axis, (count, size) in enumerate(zip(groups, indices.shape, strict=True)):
        group = torch.arange(size) // (size // count)
        table = table * count + per_channel(group, indices.ndim, axis)
    vectors = lut.reshape(-1, palette, length)[table, indices.long()]
    if length == 1:
        return vectors[..., 0]
    assert vector_axis is not None
    axis = vector_axis % indices.ndim
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)
