"""ALNet, the attention-based lightweight network of OMCBIR (Zhang, Bai, Kpalma; Displays 76, 2023).

The paper gives no channel table; this interpretation reproduces its published sizes. LNet, LNet+CS and LNet+CBAM of its
ablation are obtained by switching off ``channel_shuffle``, ``cbam`` or both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import nn

from architectures._lite0_blocks import start_from_lite0
from architectures._network import FeatureMapNetwork, linear_classifier
from architectures.efficientnet_lite import TRAINED_WITH
from architectures.layers.blocks import ChannelShuffle, conv_bn, initialize
from architectures.layers.cbam import CBAM
from compress.contracts import Architecture, BadInput, Normalisation, newer_field
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
        cbam_stride: attention only where the map is at least this many times smaller than the image; 1 everywhere.
            Attention reads and writes every map three times, so most of its time goes into the largest ones.
        reduction: channels per hidden unit in the channel attention.
        stem_width: output channels of the stem.
        widths: output channels of each block.
        strides: strides of each block's depthwise convolution.
        expansions: hidden channels of each block as a multiple of its input channels.
        hidden_widths: number of hidden channels of each block, as in a pruned network; replaces ``expansions``.
        head_width: output channels of the last convolution.
        pretrained: start from ImageNet weights of EfficientNet-Lite0's stem, of the first block of each of its stages,
            and of its head, as far as this network has them: few photographs train it much better so. Needs
            ``groups: 1``, ``channel_shuffle: false``, seven widths of at most 16, 24, 40, 80, 112, 192 and 320, and
            ``data: {mean: [0.498, 0.498, 0.498], std: [0.502, 0.502, 0.502]}``. It must still be trained.
    """

    stem_stride: Literal[1, 2] = 1
    groups: Annotated[int, Ge(1)] = 8
    channel_shuffle: bool = True
    cbam: bool = True
    cbam_stride: Annotated[int, Ge(1)] = newer_field(default=1)
    reduction: Annotated[int, Ge(1)] = 16
    stem_width: Width = 32
    widths: tuple[Width, ...] = (16, 24, 32, 64, 96, 160, 320)
    strides: tuple[Literal[1, 2], ...] = (1, 2, 2, 2, 1, 2, 1)
    expansions: tuple[Width, ...] = (1, 6, 6, 6, 6, 6, 6)
    hidden_widths: tuple[Width, ...] | None = None
    head_width: Width = 1280
    pretrained: bool = newer_field(default=False)

    def __post_init__(self) -> None:
        if self.pretrained and (self.groups > 1 or self.channel_shuffle):
            raise BadInput("pretrained: Lite0's convolutions have no groups; set groups: 1 and channel_shuffle: false")
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
        network = _ALNet(self, num_classes)
        if self.pretrained:
            start_from_lite0(network.stem, list(network.blocks), network.head)
        return network

    def bare(self) -> Architecture:
        return replace(self, pretrained=False)

    def has_weights(self) -> bool:
        return False  # Lite0's are a start: blocks are missing, and attention is fresh

    def normalisation(self) -> Normalisation | None:
        return TRAINED_WITH if self.pretrained else None


class _ALNet(FeatureMapNetwork):
    def __init__(self, options: ALNet, num_classes: int) -> None:
        super().__init__()
        width = options.stem_width
        shrunk: int = options.stem_stride
        stem = conv_bn(3, width, 3, stride=options.stem_stride)
        self.stem = nn.Sequential(stem, *_attention(options, width, shrunk))
        blocks = []
        for hidden, out, stride in zip(options.hidden, options.widths, options.strides, strict=True):
            shrunk *= stride
            blocks.append(_block(options, width, hidden, out, stride, shrunk))
            width = out
        self.blocks = nn.Sequential(*blocks)
        head = conv_bn(width, options.head_width, 1)
        self.head = nn.Sequential(head, *_attention(options, options.head_width, shrunk))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.channels = self.embedding_dim = options.head_width
        self.classifier = linear_classifier(options.head_width, num_classes)
        initialize(self)

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.head(self.blocks(self.stem(x)))
        return features


def _attention(options: ALNet, channels: int, shrunk: int) -> list[nn.Module]:
    """The attention on a map that is ``shrunk`` times smaller than the image."""
    return [CBAM(channels, options.reduction)] if options.cbam and shrunk >= options.cbam_stride else []


def _block(options: ALNet, channels: int, hidden: int, out: int, stride: int, shrunk: int) -> nn.Sequential:
    """Build an ALBlock (figure 2); it has no residual, because no block keeps its number of channels."""
    return nn.Sequential(
        conv_bn(channels, hidden, 1, groups=options.groups),
        *([ChannelShuffle(options.groups)] if options.channel_shuffle else []),
        conv_bn(hidden, hidden, 3, stride=stride, groups=hidden),
        conv_bn(hidden, out, 1, groups=options.groups, activation=None),
        *_attention(options, out, shrunk),
    )
