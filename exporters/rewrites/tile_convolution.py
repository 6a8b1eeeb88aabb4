"""Compute a convolution to one channel on blocks of positions, which become output channels.

CBAM's spatial attention convolves two channels to one with a 7x7 kernel. Kernels for matrix products compute 8 or 16
output channels at a time and waste all but one of them here. A convolution of stride b whose b x b output channels are
the positions of a block computes the same sums in parallel; moving them to their positions costs little. Tiles of
columns alone, which need no moves, were a fifth to a third slower in XNNPACK, because they add more products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import fx, nn
from torch.nn import functional as F

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place, unchanged
from exporters.rewrites._graph import add_layer, argument, called, is_called, is_plain, replace, shape


class Tiled(nn.Module):
    """Computes ``conv`` for ``block`` x ``block`` positions at a time.

    forward(parts of x, together [N, C, H, W]) -> [N, 1, H', W']. Each part has its own convolution, and the results are
    added, because concatenating two maps of one channel moves single values.
    """

    def __init__(
        self, conv: nn.Conv2d, block: int, size: tuple[int, int], parts: Sequence[int], channels_last: bool
    ) -> None:
        """``size`` is H' and W', ``parts`` the channels of each; ``conv`` has stride 1, one output, zero padding."""
        super().__init__()
        self.block, self.size, self.channels_last = block, size, channels_last
        self.blocks = tuple(math.ceil(side / block) for side in size)
        # Rows and columns beyond the padding that the last, incomplete blocks read.
        self.below, self.right = (-side % block for side in size)
        weights = conv.weight.detach().split(list(parts), dim=1)
        self.convs = nn.ModuleList(self._tiled(conv, weight, number) for number, weight in enumerate(weights))

    def _tiled(self, conv: nn.Conv2d, weight: torch.Tensor, number: int) -> nn.Conv2d:
        rows, columns = conv.kernel_size
        kernel = (rows + self.block - 1, columns + self.block - 1)
        has_bias = conv.bias is not None and number == 0
        padding = cast(tuple[int, int], conv.padding)
        tiled = nn.Conv2d(weight.shape[1], self.block**2, kernel, self.block, padding, bias=has_bias)
        with torch.no_grad():
            tiled.weight.zero_()
            for i in range(self.block):
                for j in range(self.block):
                    tiled.weight[i * self.block + j, :, i : i + rows, j : j + columns] = weight[0]
            if has_bias:
                assert conv.bias is not None and tiled.bias is not None
                tiled.bias.copy_(conv.bias.expand(self.block**2))
        return tiled

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        if self.below or self.right:
            parts = tuple(F.pad(part, (0, self.right, 0, self.below)) for part in parts)
        total = self.convs[0](parts[0])
        for conv, part in zip(self.convs[1:], parts[1:], strict=True):
            total = total + conv(part)
        placed = self._placed(total)
        if self.below or self.right:
            placed = placed[:, :, : self.size[0], : self.size[1]]
        return placed

    def _placed(self, x: torch.Tensor) -> torch.Tensor:
        """Move values out of the blocks, as ``pixel_shuffle``, with one transposition in the runtime's axis order."""
        rows, columns = self.blocks
        if not self.channels_last:
            return F.pixel_shuffle(x, self.block)
        table = x.permute(0, 2, 3, 1).reshape(-1, columns, self.block, self.block).transpose(1, 2)
        return table.reshape(-1, rows * self.block, columns * self.block, 1).permute(0, 3, 1, 2)


class TileConvolution:
    """Applies to stride-1 convolutions to one channel with a kernel of at least 3x3.

    Attributes:
        blocks: sides of blocks to choose from.
    """

    def __init__(self, costs: Costs, blocks: tuple[int, ...] = (2, 4)) -> None:
        self.costs, self.blocks = costs, blocks

    def places(self, network: fx.GraphModule) -> list[Place]:
        found = []
        for node in network.graph.nodes:
            conv = called(network, node)
            if not is_plain(conv, nn.Conv2d):
                continue
            if conv.out_channels > 1 or min(conv.kernel_size) < 3 or isinstance(conv.padding, str):
                continue
            if conv.stride == conv.dilation == (1, 1) and conv.padding_mode == "zeros":
                found.append(self._place(network, node, conv))
        return found

    def _place(self, network: fx.GraphModule, node: fx.Node, conv: nn.Conv2d) -> Place:
        height, width = shape(node)[2:]
        parts = _parts(node)
        forms = [Form("plain", self.costs.spatial(height * width, conv.weight.numel(), 1), 0, unchanged)]
        for block in self.blocks:
            tiled = Tiled(conv, block, (height, width), [shape(part)[1] for part in parts], self.costs.channels_last)
            weights = [cast(nn.Conv2d, each).weight for each in tiled.convs]
            pixels = math.prod(tiled.blocks)
            cost = sum(self.costs.spatial(pixels, weight[0].numel(), len(weight)) for weight in weights)
            # The cost of moving values out of blocks, and of one copy each to pad and to crop if blocks do not fit.
            copies = 1 + (conv.in_channels + 1 if tiled.below or tiled.right else 0)
            cost += self.costs.move(copies * pixels * block**2)
            added = (sum(weight.numel() for weight in weights) - conv.weight.numel()) * conv.weight.element_size()
            forms.append(Form(f"blocks of {block}", cost, added, self._tiling(network, node, tiled, parts)))
        return Place(f"tiles:{node.target}", tuple(forms), (*node.all_input_nodes, node))

    def _tiling(
        self, network: fx.GraphModule, node: fx.Node, tiled: Tiled, parts: Sequence[fx.Node]
    ) -> Callable[[], object]:
        return lambda: replace(network, node, lambda: add_layer(network, "tiled", tiled, *parts))


def _parts(node: fx.Node) -> list[fx.Node]:
    """The inputs of the convolution: the parts of a concatenation of channels, or the single map."""
    (source,) = node.all_input_nodes
    if is_called(source, "cat") and len(source.users) == 1 and argument(source, 1, "dim", 0) in (1, -3):
        return list(source.all_input_nodes)
    return [source]
