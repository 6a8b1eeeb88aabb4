"""Apply a layer once to a sum instead of twice before it: f(a) + f(b) = g(a + b), where g has twice f's bias.

CBAM's channel attention adds the outputs of one two-layer perceptron for the average and the maximum; its second layer
is linear, so that the sum may come first (Woo et al., ECCV 2018, equation 2).
"""

from __future__ import annotations

import copy
import functools

import torch
from torch import fx, nn

from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import add_layer, called, is_called, is_plain, replace


class ShareLayer:
    """Applies to sums of two outputs of one convolution or linear layer, if nothing else reads these outputs."""

    def places(self, network: fx.GraphModule) -> list[Place]:
        found = []
        for node in network.graph.nodes:
            if not is_called(node, "add") or len(node.args) != 2 or node.kwargs:
                continue
            first, second = node.args
            layer = called(network, first)
            if not (is_plain(layer, nn.Conv2d) or is_plain(layer, nn.Linear)):
                continue
            if called(network, second) is not layer or first is second:
                continue
            if layer.__dict__.get("padding_mode", "zeros") != "zeros":
                continue
            if len(first.users) == len(second.users) == 1:
                form = Form("once", 0.0, 0, functools.partial(self._merge, network, node, layer))
                found.append(Place(f"sum:{node.name}", (form,)))
        return found

    def _merge(self, network: fx.GraphModule, node: fx.Node, layer: nn.Conv2d | nn.Linear) -> None:
        inputs = [branch.all_input_nodes[0] for branch in node.all_input_nodes]
        once = copy.deepcopy(layer)
        if once.bias is not None:
            with torch.no_grad():
                once.bias *= 2

        def summed_first() -> fx.Node:
            total = network.graph.call_function(torch.add, tuple(inputs))
            return add_layer(network, "shared", once, total)

        replace(network, node, summed_first)
