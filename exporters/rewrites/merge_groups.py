"""Write a grouped convolution with fewer, wider groups, with zeros between the old groups.

Pointwise convolutions become faster: a matrix kernel computes 8 or 16 output channels at a time and starts again for
every group and pixel. A runtime that computes groups one after the other may be faster with a batch of matrix products.
Any convolution is rewritten if a processor cannot compute its groups (``Costs.group_multiple``).
"""

from __future__ import annotations

import functools

import torch
from torch import fx, nn

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place, unchanged
from exporters.rewrites._convolutions import allowed_groups, is_depthwise, is_pointwise, part_of, with_groups
from exporters.rewrites._graph import called, is_plain, shape, uses

_MOST_PARTS = 8
"""More of them are slower than zeros."""


class BatchedGroups(nn.Module):
    """Computes a grouped pointwise convolution as one matrix product per group.

    forward(x [N, C, H, W]) -> [N, C', H, W]
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.groups = conv.groups
        self.register_buffer("weight", conv.weight.detach().reshape(conv.groups, -1, conv.weight.shape[1]).clone())
        bias = None if conv.bias is None else conv.bias.detach().reshape(conv.groups, -1, 1).clone()
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels, height, width = x.shape[1:]
        groups = x.reshape(-1, self.groups, channels // self.groups, height * width)
        product = torch.matmul(self.weight, groups)
        if self.bias is not None:
            product = product.add_(self.bias)  # in place, to save memory for a map
        return product.reshape(-1, self.groups * self.weight.shape[1], height, width)


class Parts(nn.Module):
    """Computes a grouped convolution as several smaller ones of one group, on parts of the channels.

    forward(x [N, C, H, W]) -> [N, C', H', W']
    """

    def __init__(self, conv: nn.Conv2d, parts: int) -> None:
        super().__init__()
        self.inputs = conv.in_channels // parts
        self.convs = nn.ModuleList(part_of(conv, number, parts) for number in range(parts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        starts = range(0, x.shape[1], self.inputs)
        return torch.cat([conv(x[:, at : at + self.inputs]) for at, conv in zip(starts, self.convs, strict=True)], 1)


class MergeGroups:
    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        found: dict[str, Place] = {}
        for node in network.graph.nodes:
            conv = called(network, node)
            if not is_plain(conv, nn.Conv2d) or str(node.target) in found:
                continue
            faster = is_pointwise(conv) and not is_depthwise(conv) and uses(network, node.target) == 1
            if conv.groups > 1 and (faster or conv.groups not in allowed_groups(conv, self.costs.group_multiple)):
                _, _, height, width = shape(node)
                found[str(node.target)] = self._place(network, node, conv, height * width)
        return list(found.values())

    def _place(self, network: fx.GraphModule, node: fx.Node, conv: nn.Conv2d, pixels: int) -> Place:
        name, forms = str(node.target), []
        kernel = conv.kernel_size[0] * conv.kernel_size[1]
        for groups in allowed_groups(conv, self.costs.group_multiple):
            inputs, outputs = conv.in_channels // groups * kernel, conv.out_channels // groups
            cost = self.costs.convolution(pixels, groups, inputs, outputs)
            added = conv.weight.numel() * conv.weight.element_size() * (conv.groups // groups - 1)

            def merge(groups: int = groups) -> None:
                network.set_submodule(name, with_groups(conv, groups))

            forms.append(Form(f"{groups} groups", cost, added, merge if groups < conv.groups else unchanged))
        if self.costs.group_multiple is None:
            forms += [self._parts(network, name, conv, pixels, count) for count in _divisors(conv.groups)]
        if self.costs.batched is not None:
            batched = functools.partial(network.set_submodule, name, BatchedGroups(conv))
            forms.append(Form("batched", self.costs.batched * forms[-1].cost, 0, batched))
        return Place(f"groups:{name}", tuple(forms), (node,))

    def _parts(self, network: fx.GraphModule, name: str, conv: nn.Conv2d, pixels: int, count: int) -> Form:
        inputs, outputs = conv.in_channels // count, conv.out_channels // count
        kernel = conv.kernel_size[0] * conv.kernel_size[1]
        computed = count * self.costs.convolution(pixels, 1, inputs * kernel, outputs)
        moved = self.costs.move(pixels * (conv.in_channels + conv.out_channels))
        added = conv.weight.numel() * conv.weight.element_size() * (conv.groups // count - 1)
        split = functools.partial(network.set_submodule, name, Parts(conv, count))
        return Form(f"{count} parts", computed + moved, added, split)


def _divisors(groups: int) -> list[int]:
    return [count for count in range(2, min(groups, _MOST_PARTS) + 1) if groups % count == 0]
