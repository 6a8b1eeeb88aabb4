"""Blocks that several networks share."""

from __future__ import annotations

import torch
from torch import nn


class ChannelShuffle(nn.Module):
    """Mixes the channels of ``groups`` groups (ShuffleNet, Zhang et al. 2018, figure 1c).

    [g x n channels] is read as a g x n table, transposed and flattened: output channel ``j * g + i`` is input channel
    ``i * n + j``.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            # The same permutation on the last axis: gradients stay channels-last, so that batch normalisation's
            # backward pass uses its fast path (2.5 times the training throughput of ALNet on a CPU).
            return self._shuffle(x.permute(0, 2, 3, 1), axis=3).permute(0, 3, 1, 2)
        return self._shuffle(x, axis=1)

    def _shuffle(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        table: torch.Tensor = x.unflatten(axis, (self.groups, -1))
        return table.transpose(axis, axis + 1).flatten(axis, axis + 1)


class ChannelPermutation(nn.Module):
    """Replaces a channel shuffle after some of its channels were pruned: output channel ``i`` is input ``index[i]``.

    ``index``, int64 [channels], is stored with the weights.
    """

    index: torch.Tensor

    def __init__(self, index: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.index_select(1, self.index)


class ChannelSplit(nn.Module):
    """Splits the channels in two parts: the first ``first``, and the others."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, : self.first], x[:, self.first :]


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """Build a bias-free convolution (padded by half the kernel by default), batch normalisation and activation."""
    padding = kernel // 2 if padding is None else padding
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def tensorflow_conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """Build ``conv_bn`` with TensorFlow's "same" padding: [N, C, n, m] -> [N, out, ceil(n / stride), ceil(m / stride)].

    With stride 2, TensorFlow pads an even map by ``kernel - 2`` in total, the smaller half first. Here one more pixel
    is padded, which is only used for odd maps.
    """
    if stride == 1:
        return conv_bn(in_channels, out_channels, kernel, groups=groups, activation=activation)
    before = (kernel - 2) // 2
    after = kernel - 1 - before
    convolution = conv_bn(
        in_channels, out_channels, kernel, stride=stride, padding=0, groups=groups, activation=activation
    )
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), *convolution)


def initialize(network: nn.Module) -> None:
    """Initialise every convolution by He's method (fan-out); other layers keep PyTorch's initialisation."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
