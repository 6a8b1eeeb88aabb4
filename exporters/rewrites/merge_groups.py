"""Write a grouped pointwise convolution with fewer, wider groups where that is faster, with zeros between the old ones.

A matrix kernel computes 8 or 16 output channels at a time and starts anew for every group and pixel.
"""

from __future__ import annotations

from torch import fx, nn

from exporters.rewrites._choice import Form, Place, unchanged
from exporters.rewrites._convolutions import is_depthwise, is_pointwise, with_groups
from exporters.rewrites._costs import Costs
from exporters.rewrites._graph import called, is_plain, shape, uses


class MergeGroups:
    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        found = []
        for node in network.graph.nodes:
            conv = called(network, node)
            if not is_plain(conv, nn.Conv2d) or uses(network, node.target) > 1:
                continue
            assert isinstance(conv, nn.Conv2d)
            if conv.groups > 1 and is_pointwise(conv) and not is_depthwise(conv):
                _, _, height, width = shape(node)
                found.append(self._place(network, str(node.target), conv, height * width))
        return found

    def _place(self, network: fx.GraphModule, name: str, conv: nn.Conv2d, pixels: int) -> Place:
        forms = []
        for groups in (count for count in range(1, conv.groups + 1) if conv.groups % count == 0):
            cost = self.costs.convolution(pixels, groups, conv.in_channels // groups, conv.out_channels // groups)
            added = conv.weight.numel() * conv.weight.element_size() * (conv.groups // groups - 1)

            def merge(groups: int = groups) -> None:
                network.set_submodule(name, with_groups(conv, groups))

            forms.append(Form(f"{groups} groups", cost, added, merge if groups < conv.groups else unchanged))
        return Place(f"groups:{name}", tuple(forms))
