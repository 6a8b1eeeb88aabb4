"""ALNet, the attention-based lightweight network of OMCBIR (Zhang, Bai, Kpalma; Displays 76, 2023).

The paper gives no channel table; this interpretation reproduces its published sizes. LNet, LNet+CS and LNet+CBAM of its
ablation are obtained by switching off ``channel_shuffle``, ``cbam`` or both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import nn

from architectures._network import FeatureMapNetwork, linear_classifier
from architectures.layers.blocks import ChannelShuffle, conv_bn, initialize
from architectures.layers.cbam import CBAM
from compress.contracts import Architecture, BadInput
from compress.contracts.networks import RetrievalNetwork

Width = Annotated[int, Ge(1)]


@dataclass(frozen=True, kw_only=True)
class ALNet(Architecture):
    """A stem, blocks of shuffled group convolutions with attention, and a head; ``head_width`` values as embedding.

    Attributes:
        stem_stride: 1 in the paper's tables of 28 and 32 px images; use 2 from 128 px.
        groups: groups of both 1x1 convolutions of each block.
        channel_shuffle: shuffle between the first 1x1 convolution and the depthwise one.
        cbam: attention after the stem, every block and the last convolution.
        reduction: channels per hidden unit in the channel attention.
        stem_width: output channels of the stem.
        widths: output channels of each block.
        strides: strides of each block's depthwise convolution.
        expansions: hidden channels of each block as a multiple of its input channels.
        hidden_widths: number of hidden channels of each block, as in a pruned network; replaces ``expansions``.
        head_width: output channels of the last convolution.
    """

    stem_stride: Literal[1, 2] = 1
    groups: Annotated[int, Ge(1)] = 8
    channel_shuffle: bool = True
    cbam: bool = True
    reduction: Annotated[int, Ge(1)] = 16
    stem_width: Width = 32
    widths: tuple[Width, ...] = (16, 24, 32, 64, 96, 160, 320)
    strides: tuple[Literal[1, 2], ...] = (1, 2, 2, 2, 1, 2, 1)
    expansions: tuple[Width, ...] = (1, 6, 6, 6, 6, 6, 6)
    hidden_widths: tuple[Width, ...] | None = None
    head_width: Width = 1280

    def __post_init__(self) -> None:
        blocks = len(self.widths)
        if not blocks:
            raise BadInput("widths: is empty; give the output channels of at least one block")
        for name in ("strides", "expansions", "hidden_widths"):
            values = getattr(self, name)
            if values is not None and len(values) != blocks:
                raise BadInput(f"{name}: {len(values)} values for {blocks} widths; give one for each block")
        grouped = {"stem_width": self.stem_width}
        for number, (hidden, out) in enumerate(zip(self.hidden, self.widths, strict=True)):
            grouped |= {f"hidden_widths[{number}]": hidden, f"widths[{number}]": out}
        for place, channels in grouped.items():
            if channels % self.groups:
                raise BadInput(
                    f"groups: {self.groups} does not divide the {channels} channels of {place}; "
                    "change groups or that width"
                )

    @property
    def hidden(self) -> tuple[int, ...]:
        """Hidden channels of each block."""
        if self.hidden_widths is not None:
            return self.hidden_widths
        inputs = (self.stem_width, *self.widths[:-1])
        return tuple(count * factor for count, factor in zip(inputs, self.expansions, strict=True))

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        return _ALNet(self, num_classes)


class _ALNet(FeatureMapNetwork):
    def __init__(self, options: ALNet, num_classes: int) -> None:
        super().__init__()
        width = options.stem_width
        self.stem = nn.Sequential(conv_bn(3, width, 3, stride=options.stem_stride), *_attention(options, width))
        blocks = []
        for hidden, out, stride in zip(options.hidden, options.widths, options.strides, strict=True):
            blocks.append(_block(options, width, hidden, out, stride))
            width = out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(conv_bn(width, options.head_width, 1), *_attention(options, options.head_width))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.channels = self.embedding_dim = options.head_width
        self.classifier = linear_classifier(options.head_width, num_classes)
        initialize(self)

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.head(self.blocks(self.stem(x)))
        return features


def _attention(options: ALNet, channels: int) -> list[nn.Module]:
    return [CBAM(channels, options.reduction)] if options.cbam else []


def _block(options: ALNet, channels: int, hidden: int, out: int, stride: int) -> nn.Sequential:
    """Build an ALBlock (figure 2); it has no residual, because no block keeps its number of channels."""
    return nn.Sequential(
        conv_bn(channels, hidden, 1, groups=options.groups),
        *([ChannelShuffle(options.groups)] if options.channel_shuffle else []),
        conv_bn(hidden, hidden, 3, stride=stride, groups=hidden),
        conv_bn(hidden, out, 1, groups=options.groups, activation=None),
        *_attention(options, out),
    )
