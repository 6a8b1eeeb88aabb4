"""Index arithmetic that several operations share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def normalised(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Convert axes to non-negative numbers, ascending."""
    return tuple(sorted(axis % rank for axis in axes))


def per_channel(vector: Tensor, rank: int, axis: int = 1) -> Tensor:
    """Reshape a vector [C], or a scalar, so that it broadcasts along ``axis`` of a tensor of this rank."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def same_padding(sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], lower: bool) -> tuple[int, ...]:
    """Compute the padding (before, after) per spatial axis for outputs of size ceil(size / stride).

    If the total is odd, the extra element is at the end, or at the beginning if ``lower``.
    """
    pads: list[int] = []
    for size, extent, stride in zip(sizes, kernel, strides, strict=True):
        total = max(0, stride * -(-size // stride) - size + extent - stride)
        half = total // 2
        pads += [total - half, half] if lower else [half, total - half]
    return tuple(pads)


def torch_order(pads: Sequence[int]) -> list[int]:
    """Convert padding from MIL's order, the first axis first, to ``F.pad``'s order, the last axis first."""
    return [pads[2 * axis + side] for axis in reversed(range(len(pads) // 2)) for side in (0, 1)]
