"""Let a deployed graph compute in half precision, from the cast of the image on."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn import functional as F


def in_half_precision(module: nn.Module) -> nn.Module:
    """A copy that casts the image to float16 instead of float32, and its result to float32.

    The L2 normalisation at the end stays in float32, because the sum of squares may exceed the largest float16.
    """
    network = fx.GraphModule(module, fx.Tracer().trace(module))
    network = copy.deepcopy(network).half()
    for node in network.graph.nodes:
        node.args = tuple(torch.float16 if argument is torch.float32 else argument for argument in node.args)
    (end,) = (node for node in network.graph.nodes if node.op == "output")
    (result,) = end.all_input_nodes
    last = result if result.target is F.normalize else end
    (value, *_) = last.all_input_nodes
    with network.graph.inserting_before(last):
        last.replace_input_with(value, network.graph.call_method("float", (value,)))
    network.graph.lint()
    network.recompile()
    return network.eval()
