"""Find the operation that a converter refuses, because the converters' own messages rarely name a layer."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import fx, nn

from compress.system.tracing import trace

_LONGEST_S = 60.0


def refused_operation(module: nn.Module, size: tuple[int, int], converts: Callable[[nn.Module], bool]) -> str | None:
    """The first operation with which the network cannot be converted, such as ``Conv2d 'stem.conv'``.

    The network is cut after an operation, and the search halves the part in which the refused one lies.

    Args:
        module: takes uint8 images [N, 3, *size].
        converts: whether a network with the same input can be converted.

    Returns:
        None if no part is refused, or if a minute was not enough.
    """
    network = fx.GraphModule(*trace(module))
    places = _tensors(network, torch.zeros(1, 3, *size, dtype=torch.uint8))
    started, low, high = time.monotonic(), 0, len(places) - 1
    if not places or converts(_until(network, places[high])):
        return None
    while low < high:
        if time.monotonic() - started > _LONGEST_S:
            return None
        middle = (low + high) // 2
        if converts(_until(network, places[middle])):
            low = middle + 1
        else:
            high = middle
    return _title(network, places[low])


def _tensors(network: fx.GraphModule, image: torch.Tensor) -> list[fx.Node]:
    """The nodes that compute floating-point tensors, in order."""
    found: list[fx.Node] = []

    class Noted(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            computed = n.op not in ("placeholder", "get_attr", "output")
            if computed and isinstance(result, torch.Tensor) and result.is_floating_point() and result.ndim > 1:
                found.append(n)
            return result

    with torch.no_grad():
        Noted(network).run(image)
    return found


def _until(network: fx.GraphModule, last: fx.Node) -> fx.GraphModule:
    """The network up to a node, whose values it gives as [N, D]."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in network.graph.nodes:
        copies[node] = graph.node_copy(node, lambda n: copies[n])
        if node is last:
            break
    graph.output(graph.call_method("flatten", (copies[last], 1)))
    part = fx.GraphModule(network, graph).eval()
    part.graph.eliminate_dead_code()
    part.recompile()
    return part


def _title(network: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        name = str(node.target)
        return f"{type(network.get_submodule(name)).__name__} '{name.removeprefix('network.')}'"
    operation = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    layers = [name for name, _ in (node.meta.get("nn_module_stack") or {}).values() if name]
    return f"{operation} '{(layers[-1] if layers else node.name).removeprefix('network.')}'"
