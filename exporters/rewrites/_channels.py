"""Find permutations of channels in a traced network, and the operations that do not depend on the channels' order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx, nn

from exporters.rewrites._convolutions import is_depthwise, is_pointwise
from exporters.rewrites._graph import called, convolution, is_called, is_plain, shape, uses

_POINTWISE = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Identity, nn.Dropout)
_POINTWISE_CALLS = ("relu", "relu6", "hardswish", "sigmoid", "silu")
_MOVES = ("view", "reshape", "permute", "transpose", "flatten", "unflatten", "contiguous", "index_select")


def permutation(network: fx.GraphModule, end: fx.Node) -> tuple[fx.Node, fx.Node, torch.Tensor] | None:
    """Find the longest chain of moves that ends here and permutes channels: its source, its end and the order."""
    if len(shape(end)) != 4 or not _is_move(network, end):
        return None
    if len(end.users) == 1 and _is_move(network, next(iter(end.users))):
        return None  # the chain ends later
    chain = [end]
    source = _moved(end)
    found = None
    while True:
        if shape(source) == shape(end):
            order = _order(network, source, chain[::-1])
            found = found if order is None else (source, end, order)
        if not _is_move(network, source) or len(source.users) > 1:
            return found
        chain.append(source)
        source = _moved(source)


def _is_move(network: fx.GraphModule, node: fx.Node) -> bool:
    if is_plain(called(network, node), nn.ChannelShuffle):
        return True
    if not any(is_called(node, name) for name in _MOVES):
        return False
    return all(other.op == "get_attr" for other in node.all_input_nodes[1:])


def _moved(node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


def _order(network: fx.GraphModule, source: fx.Node, chain: list[fx.Node]) -> torch.Tensor | None:
    """The order of channels, found by moving numbers; None unless every value keeps its position and its channel."""
    sizes = shape(source)
    numbers = torch.arange(values(source)).reshape(sizes)
    interpreter = fx.Interpreter(network)
    interpreter.env[source] = numbers
    for node in chain:
        for other in node.all_input_nodes[1:]:
            interpreter.env[other] = interpreter.run_node(other)
        interpreter.env[node] = interpreter.run_node(node)
    moved: torch.Tensor = interpreter.env[chain[-1]]
    order = moved[0, :, 0, 0] // (sizes[2] * sizes[3])
    return order if torch.equal(numbers[:, order], moved) else None


def table_groups(order: torch.Tensor) -> int:
    """g if ``order`` transposes a table of g x C/g channels; 0 for any other permutation."""
    step = int(order[1]) if len(order) > 1 else 1
    if step < 1 or len(order) % step:
        return 0
    groups = len(order) // step
    table = torch.arange(len(order)).reshape(groups, step)
    return groups if torch.equal(table.t().flatten(), order) else 0


def move_rate(order: torch.Tensor) -> int:
    """How many times as long as a transposed table a permutation takes."""
    # XNNPACK has no index operation; a runtime then copies tensors out of XNNPACK and back.
    return 1 if table_groups(order) else 4


def values(node: fx.Node) -> int:
    return int(torch.Size(shape(node)).numel())


def is_foldable(network: fx.GraphModule, node: fx.Node) -> bool:
    conv = called(network, node)
    if not is_plain(conv, nn.Conv2d) or uses(network, node.target) > 1:
        return False
    return is_pointwise(conv) or conv.groups == 1


def takes_any_order(network: fx.GraphModule, node: fx.Node) -> bool:
    conv = called(network, node)
    if not is_plain(conv, nn.Conv2d) or uses(network, node.target) > 1:
        return False
    return is_depthwise(conv)


def change_convolution(network: fx.GraphModule, node: fx.Node, change: Callable[[nn.Conv2d], nn.Conv2d]) -> None:
    """Put ``change(convolution)`` in the place of the convolution that a node calls."""
    network.set_submodule(str(node.target), change(convolution(network, node)))


def keeps_channels(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an operation treats all channels alike and independently."""
    layer = called(network, node)
    if layer is not None:
        return any(is_plain(layer, kind) for kind in _POINTWISE)
    return any(is_called(node, name) for name in _POINTWISE_CALLS)
