"""Convolution and transposed convolution over one, two or three spatial axes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from validators.mlprogram.ops._axes import per_channel, same_padding, torch_order
from validators.mlprogram.ops._registry import Ints, operation

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@operation("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """``x`` [N, C, *D], ``weight`` [O, C / groups, *K]; ``pad`` (before, after) per axis, for ``custom`` only."""
    axes = x.ndim - 2
    strides, dilations = strides or (1,) * axes, dilations or (1,) * axes
    pads = (0,) * 2 * axes
    if pad_type == "custom" and pad is not None:
        pads = pad
    elif pad_type in ("same", "same_lower"):
        extent = [(size - 1) * dilation + 1 for size, dilation in zip(weight.shape[2:], dilations, strict=True)]
        pads = same_padding(x.shape[2:], extent, strides, pad_type == "same_lower")
    padding: tuple[int, ...] = pads[::2]
    if padding != pads[1::2]:
        x, padding = F.pad(x, torch_order(pads)), (0,) * axes
    return _CONV[axes](x, weight, bias, strides, padding, dilations, groups)


@operation("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """``weight`` [C, O / groups, *K]. The full result is cropped, or padded with zeros, to the requested size."""
    axes = x.ndim - 2
    strides, dilations = strides or (1,) * axes, dilations or (1,) * axes
    full = _CONV_TRANSPOSE[axes](x, weight, None, strides, 0, 0, groups, dilations)
    cut: list[int] = []
    for axis in range(axes):
        size = full.shape[2 + axis]
        before, after = pad[2 * axis : 2 * axis + 2] if pad_type == "custom" and pad is not None else (0, 0)
        wanted = size - before - after
        if pad_type == "same":
            wanted = strides[axis] * x.shape[2 + axis]
        if output_shape is not None:
            wanted = output_shape[2 + axis]
        if pad_type == "same":
            before = max(0, size - wanted) // 2
        cut += [-before, wanted - size + before]
    full = F.pad(full, torch_order(cut))
    return full if bias is None else full + per_channel(bias, x.ndim)
