"""Average, maximum and L2 pooling over one, two or three spatial axes."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from validators.mlprogram.ops._axes import same_padding, torch_order
from validators.mlprogram.ops._registry import Ints, operation

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@operation("max_pool")
def max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window; padding is never the maximum."""
    strides = strides or (1,) * len(kernel_sizes)
    pads, extra = _padding(x.shape[2:], kernel_sizes, strides, pad_type, pad, ceil_mode)
    padded = F.pad(F.pad(x, torch_order(pads), value=-math.inf), torch_order(extra), value=-math.inf)
    return _MAXIMUM[len(kernel_sizes)](padded, kernel_sizes, strides)


@operation("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """The mean of each window; padding counts as zeros unless excluded, padding by ``ceil_mode`` never counts."""
    strides = strides or (1,) * len(kernel_sizes)
    pads, extra = _padding(x.shape[2:], kernel_sizes, strides, pad_type, pad, ceil_mode)
    pool, added = _AVERAGE[len(kernel_sizes)], torch_order([a + b for a, b in zip(pads, extra, strict=True)])
    averages = pool(F.pad(x, added), kernel_sizes, strides)
    padding_counts = 0.0 if exclude_padding_from_average else 1.0
    ones = F.pad(x.new_ones((1, 1, *x.shape[2:])), torch_order(pads), value=padding_counts)
    counted = pool(F.pad(ones, torch_order(extra)), kernel_sizes, strides)
    return averages / counted


@operation("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The root of the sum of squares of each window."""
    strides = strides or (1,) * len(kernel_sizes)
    pads, extra = _padding(x.shape[2:], kernel_sizes, strides, pad_type, pad, ceil_mode)
    added = torch_order([a + b for a, b in zip(pads, extra, strict=True)])
    averages = _AVERAGE[len(kernel_sizes)](F.pad(x.square(), added), kernel_sizes, strides)
    return (averages * math.prod(kernel_sizes)).sqrt()


def _padding(
    sizes: Ints, kernel: Ints, strides: Ints, pad_type: str, pad: Ints | None, ceil_mode: bool
) -> tuple[Ints, Ints]:
    """The padding (before, after) per axis: that of the operation, and that which ``ceil_mode`` adds after it."""
    pads = (0,) * 2 * len(kernel)
    if pad_type in ("same", "same_lower"):
        return same_padding(sizes, kernel, strides, pad_type == "same_lower"), pads
    if pad_type == "custom" and pad is not None:
        pads = pad
    extra = [0] * len(pads)
    if ceil_mode:
        for axis, (size, extent, stride) in enumerate(zip(sizes, kernel, strides, strict=True)):
            before, after = pads[2 * axis : 2 * axis + 2]
            windows = -(-(size + before + after - extent) // stride) + 1
            if (windows - 1) * stride >= size + before and before + after > 0:
                windows -= 1
            extra[2 * axis + 1] = max(0, (windows - 1) * stride + extent - size - before - after)
    return pads, tuple(extra)
