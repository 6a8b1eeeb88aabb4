"""Query a traced network, and insert new layers into it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeGuard, TypeVar

import torch
from torch import fx, nn

Layer = TypeVar("Layer", bound=nn.Module)


def called(network: fx.GraphModule, node: object) -> nn.Module | None:
    """The layer that a node calls, in its current state: an earlier rewrite may have replaced it."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return network.get_submodule(str(node.target))


def is_plain(module: nn.Module | None, kind: type[Layer]) -> TypeGuard[Layer]:
    """Whether a module is exactly of this class and without hooks; otherwise it may compute something else."""
    return module is not None and type(module) is kind and not module._forward_hooks and not module._forward_pre_hooks


def convolution(network: fx.GraphModule, node: fx.Node) -> nn.Conv2d:
    """The convolution that a node is known to call; TypeError for any other node."""
    layer = called(network, node)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{node.format_node()} calls no convolution")
    return layer


def is_called(node: object, name: str) -> bool:
    """Whether ``node`` is the tensor operation ``name``, as function, operator or method."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "call_method":
        return node.target == name
    functions = {getattr(torch, name, None), getattr(operator, name, None), getattr(nn.functional, name, None)}
    return node.op == "call_function" and node.target in functions - {None}


def uses(network: fx.GraphModule, target: object) -> int:
    """Count how often the graph calls a layer or reads its parameters."""
    readers = ("call_module", "get_attr")
    return sum(
        node.op in readers and (node.target == target or str(node.target).startswith(f"{target}."))
        for node in network.graph.nodes
    )


def shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of the node's output; empty if the output is not a tensor."""
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a node, passed by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def constant(network: fx.GraphModule, node: object) -> torch.Tensor | None:
    """The parameter or buffer that a node reads."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    parent, _, name = str(node.target).rpartition(".")
    value = getattr(network.get_submodule(parent), name)
    return value if isinstance(value, torch.Tensor) else None


def add_layer(network: fx.GraphModule, name: str, layer: nn.Module, *sources: fx.Node) -> fx.Node:
    """Call ``layer`` on the outputs of ``sources``, at the graph's insertion point; ``name`` becomes unique."""
    taken = {existing for existing, _ in network.named_children()}
    unique = next(n for n in (name, *(f"{name}_{number}" for number in range(1, 10_000))) if n not in taken)
    network.add_module(unique, layer.eval().requires_grad_(False))
    return network.graph.call_module(unique, sources)


def replace(network: fx.GraphModule, old: fx.Node, make: Callable[[], fx.Node]) -> fx.Node:
    """Let the readers of ``old`` read the node that ``make`` inserts before it; nodes without readers are removed."""
    with network.graph.inserting_before(old):
        new = make()
    old.replace_all_uses_with(new)
    network.graph.eliminate_dead_code()
    return new
