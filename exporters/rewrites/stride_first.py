"""Leave pixels out before a 1x1 convolution with a stride, where a processor computes the stride wrongly."""

from __future__ import annotations

import copy
import functools

from torch import fx, nn

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import add_layer, called, is_plain, replace


class StrideFirst:
    """Applies to 1x1 convolutions with a stride and without padding.

    LiteRT's GPU code reads other pixels than the stride says if the weights are int8, without an error. A maximum over
    one pixel, with the same stride, leaves the right ones.
    """

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        if not self.costs.stride_first:
            return []
        found = []
        for node in network.graph.nodes:
            conv = called(network, node)
            if not is_plain(conv, nn.Conv2d) or conv.kernel_size != (1, 1) or conv.stride == (1, 1):
                continue
            if conv.padding in ((0, 0), "valid"):
                form = Form("first", 0.0, 0, functools.partial(_stride_first, network, node, conv))
                found.append(Place(f"stride:{node.name}", (form,), (node,)))
        return found


def _stride_first(network: fx.GraphModule, node: fx.Node, conv: nn.Conv2d) -> None:
    dense = copy.copy(conv)
    dense.stride = (1, 1)

    def pooled_first() -> fx.Node:
        pool = add_layer(network, "stride", nn.MaxPool2d(1, conv.stride), *node.all_input_nodes)
        return add_layer(network, "pointwise", dense, pool)

    replace(network, node, pooled_first)
