"""Fold the image's normalisation into the convolution that reads it.

The network normalises, then pads with zeros, which are equal to the channel's mean. So only the scale can move into the
weights; the mean is still subtracted first, so that padding with zeros remains right.
"""

from __future__ import annotations

import copy
import functools

import torch
from torch import fx, nn

from exporters._costs import Costs
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._graph import called, constant, is_called, is_plain, replace, shape, uses


class FoldNormalisation:
    """Replaces conv(x * scale + shift), with one scale and shift per channel, by conv'(x - mean).

    In channels-last order, the mean is subtracted from whole rows [N, H, W * C], because runtimes broadcast three
    values over an image one pixel at a time (XNNPACK: 0.15 ms for each such operation at 224 px, 0.03 ms by rows).
    """

    def __init__(self, costs: Costs) -> None:
        self.rows = costs.channels_last

    def places(self, network: fx.GraphModule) -> list[Place]:
        found = []
        for node in network.graph.nodes:
            conv = called(network, node)
            if not is_plain(conv, nn.Conv2d) or uses(network, node.target) > 1:
                continue
            shifted = node.all_input_nodes[0]
            scaled, shift = self._operands(network, shifted, "add")
            source, scale = self._operands(network, scaled, "mul")
            if scaled is None or source is None or scale is None or shift is None:
                continue
            if conv.groups > 1 or conv.padding_mode != "zeros":
                continue
            if len(shifted.users) > 1 or len(scaled.users) > 1 or not (scale != 0).all():
                continue
            fold = functools.partial(self._fold, network, node, conv, source, scale.flatten(), shift.flatten())
            found.append(Place(f"normalisation:{node.target}", (Form("folded", 0.0, 0, fold),)))
        return found

    def _operands(
        self, network: fx.GraphModule, node: object, operation: str
    ) -> tuple[fx.Node | None, torch.Tensor | None]:
        """The operands x and c of an operation x o c, if c has one value per channel."""
        if not isinstance(node, fx.Node) or not is_called(node, operation) or len(node.args) != 2:
            return None, None
        x, value = node.args[0], constant(network, node.args[1])
        if not isinstance(x, fx.Node) or value is None or tuple(value.shape) != (1, *shape(x)[1:2], 1, 1):
            return None, None
        return x, value

    def _fold(
        self,
        network: fx.GraphModule,
        node: fx.Node,
        conv: nn.Conv2d,
        source: fx.Node,
        scale: torch.Tensor,
        shift: torch.Tensor,
    ) -> None:
        folded = copy.deepcopy(conv)
        with torch.no_grad():
            folded.weight.copy_(conv.weight.double() * scale.double().reshape(1, -1, 1, 1))
        network.set_submodule(str(node.target), folded)
        mean = (-shift.double() / scale.double()).float()

        def centred() -> fx.Node:
            graph = network.graph
            if not self.rows:
                network.register_buffer("mean", mean.reshape(1, -1, 1, 1))
                return graph.call_function(torch.sub, (source, graph.get_attr("mean")))
            _, channels, height, width = shape(source)
            network.register_buffer("mean", mean.repeat(width))
            image = self._channels_last(network, source)
            lines = graph.call_method("reshape", (image, -1, height, width * channels))
            lines = graph.call_function(torch.sub, (lines, graph.get_attr("mean")))
            image = graph.call_method("reshape", (lines, -1, height, width, channels))
            return graph.call_method("permute", (image, 0, 3, 1, 2))

        replace(network, node.all_input_nodes[0], centred)

    def _channels_last(self, network: fx.GraphModule, source: fx.Node) -> fx.Node:
        """Permute the image before it becomes float, next to the converter's own permutation, so that both cancel."""
        graph = network.graph
        if is_called(source, "to") and len(source.users) == 1:
            image = graph.call_method("permute", (source.args[0], 0, 2, 3, 1))
            return graph.call_method("to", (image, *source.args[1:]), source.kwargs)
        return graph.call_method("permute", (source, 0, 2, 3, 1))
