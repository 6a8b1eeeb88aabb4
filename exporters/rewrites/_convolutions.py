"""Rewrite convolutions with fewer groups or another order of channels."""

from __future__ import annotations

import torch
from torch import nn


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether a convolution is 1x1 without stride or padding, so that it is a matrix product at each position."""
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding in ((0, 0), "valid", "same")


def is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether every output channel reads only the input channel with its own number."""
    return conv.groups == conv.in_channels == conv.out_channels and conv.padding_mode == "zeros"


def allowed_groups(conv: nn.Conv2d, multiple: int | None) -> list[int]:
    """The numbers of groups in which a convolution can be written so that a processor computes it: ascending, 1 first.

    A group of a single input channel, as in depthwise convolutions, is computed in another way everywhere.

    Args:
        multiple: as ``Costs.group_multiple``.
    """

    def allowed(count: int) -> bool:
        inputs, outputs = conv.in_channels // count, conv.out_channels // count
        whole = multiple is not None and inputs % multiple == 0 and outputs % multiple == 0
        return count == 1 or inputs == 1 or whole

    return [count for count in range(1, conv.groups + 1) if conv.groups % count == 0 and allowed(count)]


def with_groups(conv: nn.Conv2d, groups: int) -> nn.Conv2d:
    """The same convolution in ``groups`` groups, a divisor of its own: neighbours are merged, with zeros between."""
    merged = conv.groups // groups
    outputs, inputs = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    kernel = conv.weight.shape[2:]
    weight = conv.weight.new_zeros(groups, merged, outputs, merged, inputs, *kernel)
    for number in range(merged):
        weight[:, number, :, number] = conv.weight.detach().reshape(groups, merged, outputs, inputs, *kernel)[:, number]
    return _like(conv, weight.reshape(conv.out_channels, merged * inputs, *kernel), conv.bias, groups)


def part_of(conv: nn.Conv2d, number: int, parts: int) -> nn.Conv2d:
    """One of ``parts`` convolutions of one group that together compute ``conv``, whose groups they divide."""
    merged = with_groups(conv, parts)
    outputs = conv.out_channels // parts
    mine = slice(number * outputs, (number + 1) * outputs)
    bias = None if merged.bias is None else merged.bias[mine]
    return _like(merged, merged.weight[mine], bias, 1)


def with_outputs(conv: nn.Conv2d, order: torch.Tensor) -> nn.Conv2d:
    """Reorder the outputs: channel i becomes ``conv``'s ``order[i]``; for a depthwise convolution the inputs, too."""
    return _like(conv, conv.weight[order], conv.bias[order] if conv.bias is not None else None, conv.groups)


def with_inputs(conv: nn.Conv2d, order: torch.Tensor) -> nn.Conv2d:
    """Reorder the inputs of a convolution of one group: input channel i is ``conv``'s ``order[i]``."""
    return _like(conv, conv.weight[:, order], conv.bias, conv.groups)


def _like(conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None, groups: int) -> nn.Conv2d:
    other = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        groups,
        bias is not None,
        conv.padding_mode,
    )
    other.weight = nn.Parameter(weight.detach().clone().contiguous(), requires_grad=False)
    if bias is not None:
        other.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return other.eval()
