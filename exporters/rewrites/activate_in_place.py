"""Let an activation overwrite the result of the layer before it, if nothing else reads that result."""

from __future__ import annotations

import functools

from torch import fx, nn

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import add_layer, called, is_plain, replace
from exporters.rewrites.merge_groups import BatchedGroups

Activation = type[nn.ReLU | nn.ReLU6 | nn.Hardswish | nn.Hardsigmoid | nn.SiLU]

_IN_PLACE: tuple[Activation, ...] = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU)


class ActivateInPlace:
    """Applies to activations right after a layer that allocates its output, on runtimes where allocation takes time."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        if not self.costs.in_place:
            return []
        found = []
        for node in network.graph.nodes:
            layer = called(network, node)
            kind = next((kind for kind in _IN_PLACE if is_plain(layer, kind)), None)
            if kind is None or layer.inplace:  # type: ignore[union-attr]
                continue
            (source,) = node.all_input_nodes
            maker = called(network, source)
            if len(source.users) == 1 and any(is_plain(maker, kind) for kind in (nn.Conv2d, nn.Linear, BatchedGroups)):
                apply = functools.partial(_overwrite, network, node, kind)
                found.append(Place(f"activation:{node.name}", (Form("in place", 0.0, 0, apply),)))
        return found


def _overwrite(network: fx.GraphModule, node: fx.Node, kind: Activation) -> None:
    replace(network, node, lambda: add_layer(network, "overwrite", kind(inplace=True), *node.all_input_nodes))
