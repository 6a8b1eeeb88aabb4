"""Operations that move, repeat or name elements without computing."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from validators.mlprogram.ops._axes import normalised, torch_order
from validators.mlprogram.ops._registry import Ints, operation


@operation("reshape")
def reshape(x: Tensor, shape: Ints) -> Tensor:
    """0 is the size of ``x`` on the same axis counted from the end (1 if there is none), -1 the remaining size."""
    sizes = [
        (x.shape[position] if position >= -x.ndim else 1) if size == 0 else size
        for position, size in zip(range(-len(shape), 0), shape, strict=True)
    ]
    return x.reshape(sizes)


@operation("transpose")
def transpose(x: Tensor, perm: Ints) -> Tensor:
    return x.permute(perm)


@operation("expand_dims")
def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    """``axes`` are positions in the result."""
    for axis in normalised(axes, x.ndim + len(axes)):
        x = x.unsqueeze(axis)
    return x


@operation("squeeze")
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Remove axes of length 1; longer axes are kept."""
    return x.squeeze() if axes is None else x.squeeze(normalised(axes, x.ndim))


@operation("flatten2d")
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operation("shape")
def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape)


@operation("concat")
def concat(values: tuple[Tensor, ...], axis: int, interleave: bool = False) -> Tensor:
    """``interleave`` takes one slice of each in turn."""
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].ndim
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


@operation("stack")
def stack(values: tuple[Tensor, ...], axis: int) -> Tensor:
    return torch.stack(values, axis)


@operation("split")
def split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> tuple[Tensor, ...]:
    if split_sizes is None:
        assert num_splits is not None
        split_sizes = (x.shape[axis] // num_splits,) * num_splits
    return tuple(x.split(split_sizes, axis))


@operation("tile")
def tile(x: Tensor, reps: Ints) -> Tensor:
    return x.repeat(reps)


@operation("fill")
def fill(shape: Ints, value: Tensor | None = None) -> Tensor:
    return torch.zeros(shape) if value is None else value.reshape(()).expand(shape)


@operation("fill_like")
def fill_like(ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    return torch.zeros(ref_tensor.shape) if value is None else value.reshape(()).expand(ref_tensor.shape)


@operation("reverse")
def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.flip(axes if axes is not None else tuple(range(x.ndim)))


@operation("range_1d")
def range_1d(start: float, end: float, step: float) -> Tensor:
    return torch.arange(start, end, step)


@operation("band_part")
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Zero outside ``lower`` diagonals below and ``upper`` above the main one; negative keeps all."""
    rows, columns = torch.arange(x.shape[-2])[:, None], torch.arange(x.shape[-1])
    kept = ((rows - columns <= lower) | (lower < 0)) & ((columns - rows <= upper) | (upper < 0))
    return torch.where(kept, x, torch.zeros_like(x))


@operation("pad")
def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """(before, after) for each of the last ``len(pad) / 2`` axes."""
    if mode == "constant":
        return F.pad(x, torch_order(pad), value=constant_val)
    first = x.ndim - len(pad) // 2
    for axis in range(first, x.ndim):
        before, after = pad[2 * (axis - first) : 2 * (axis - first) + 2]
        size = x.shape[axis]
        source = torch.arange(-before, size + after)
        if mode == "reflect":
            source = (size - 1) - ((size - 1) - source.abs()).abs()
        elif mode == "replicate":
            source = source.clamp(0, size - 1)
        else:
            raise ValueError(f"pad has no mode '{mode}' (there are: constant, reflect, replicate)")
        x = x.index_select(axis, source)
    return x


@operation("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """[N, C · f², H, W] -> [N, C, H · f, W · f]."""
    return F.pixel_shuffle(x, upscale_factor)


@operation("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """[N, C, H, W] -> [N, C · f², H / f, W / f], the channel varying slowest."""
    return F.pixel_unshuffle(x, downscale_factor)


@operation("space_to_depth")
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """[N, C, H, W] -> [N, b² · C, H / b, W / b], the channel varying fastest, as in TensorFlow."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // block_size, block_size, w // block_size, block_size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, h // block_size, w // block_size)


@operation("depth_to_space")
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """The inverse of ``space_to_depth``."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, block_size, block_size, c // block_size**2, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, h * block_size, w * block_size)
