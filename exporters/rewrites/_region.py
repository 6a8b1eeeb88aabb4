"""Cut a location and its surroundings out as a network small enough to be exported and timed in every variant."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import fx, nn
from torch.nn import functional as F

from exporters.rewrites._graph import shape


class _Lead(nn.Module):
    """forward(image uint8 [N, 3, H, W]) -> float32 [N, C, H, W], in almost no time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(image.to(self.conv.weight.dtype))
        return result


def around(network: fx.GraphModule, nodes: Collection[fx.Node]) -> tuple[fx.GraphModule, tuple[int, int]]:
    """Find the smallest part of ``network`` that holds ``nodes`` and is between two maps through which all data flow.

    Nodes carry shapes. The part has copies of the layers, so that rewriting it does not change ``network``, and the
    names of locations are kept.

    Returns:
        forward(image uint8 [N, 3, H, W]) -> float32 [N, D], and H and W.
    """
    order = [node for node in network.graph.nodes if node.op not in ("get_attr", "output")]
    position = {node: number for number, node in enumerate(order)}
    inside = [position[node] for node in nodes]
    first, last = min(inside), max(inside)
    start = max((n for n in _bottlenecks(order, position) if n < first and len(shape(order[n])) == 4), default=0)
    stop = min((n for n in _bottlenecks(order, position) if n >= last and len(shape(order[n])) in (2, 4)), default=last)
    return _network(network, order[start], order[start + 1 : stop + 1])


def _bottlenecks(order: list[fx.Node], position: dict[fx.Node, int]) -> list[int]:
    """Find the positions after which only the value computed there is still needed."""
    found, needed = [], -1
    for number, node in enumerate(order):
        if needed <= number:
            found.append(number)
        needed = max([needed, *(position.get(user, len(order)) for user in node.users)])
    return found


def _network(network: fx.GraphModule, start: fx.Node, nodes: list[fx.Node]) -> tuple[fx.GraphModule, tuple[int, int]]:
    graph = fx.Graph()
    image = graph.placeholder("image")
    copies = {start: image}
    lead = None
    if start.op != "placeholder":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            lead = _Lead(shape(start)[1])
        copies[start] = graph.call_module("lead", (image,))
    for node in nodes:
        for constant in (each for each in node.all_input_nodes if each.op == "get_attr" and each not in copies):
            copies[constant] = graph.node_copy(constant)
        copies[node] = graph.node_copy(node, copies.__getitem__)
    result = copies[nodes[-1]]
    if len(shape(nodes[-1])) == 4:
        result = graph.call_function(F.adaptive_avg_pool2d, (result, 1))
        result = graph.call_method("flatten", (result, 1))
    graph.output(result)
    root = dict(network.named_modules(remove_duplicate=False)) | dict(network.named_parameters())
    part = fx.GraphModule({**root, **dict(network.named_buffers()), "lead": lead}, graph)
    return part.eval().requires_grad_(False), (shape(start)[2], shape(start)[3])
