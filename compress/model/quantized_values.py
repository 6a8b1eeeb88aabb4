"""Name the values of a network that an 8-bit file stores; training and the exporters share the names."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

_COMPUTING_LAYERS: tuple[type[nn.Module], ...] = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid),
    *(nn.Sigmoid, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
)
_COMPUTING_CALLS = frozenset(
    ("add", "iadd", "sub", "mul", "imul", "mean", "cat", "relu", "relu6", "silu", "gelu", "hardswish", "sigmoid")
)
_RECTIFIERS = ("relu", "relu6", "ReLU", "ReLU6")
_RECTIFIED = ("Conv2d", "Linear", "BatchNorm2d", "add", "iadd")


def traced(network: nn.Module) -> fx.GraphModule:
    """Trace the network's ``embed`` to a graph of the network's own layers.

    A module without weights stays one node, because it may compute differently in training (``ChannelShuffle``). So the
    nodes have the same names whenever a network of these shapes is traced.
    """
    tracer = _Tracer()
    tracer.traced_func_name = "embed"
    return fx.GraphModule(network, tracer.trace(network), "Traced")


def stored_values(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes whose outputs get a range: every sum, product, mean and activation.

    Operations that only move or select values are left out; so are operations before a batch normalisation, which is
    folded into them, and before a ReLU or ReLU6, which runtimes compute in the same operation.
    """
    return [node for node in graph.graph.nodes if _computes(graph, node) and not _is_fused(graph, node)]


def kind(graph: fx.GraphModule, node: fx.Node) -> str:
    """The layer's class or the operation's name, e.g. ``Conv2d``, ``mul``."""
    if node.op == "call_module":
        return type(graph.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or next(m.parameters(), None) is None


def _computes(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        layer: Any = graph.get_submodule(str(node.target))
        return isinstance(layer, _COMPUTING_LAYERS)
    return node.op in ("call_function", "call_method") and kind(graph, node) in _COMPUTING_CALLS


def _is_fused(graph: fx.GraphModule, node: fx.Node) -> bool:
    if len(node.users) != 1:
        return False
    own, reader = kind(graph, node), kind(graph, next(iter(node.users)))
    return (own == "Conv2d" and reader == "BatchNorm2d") or (own in _RECTIFIED and reader in _RECTIFIERS)
