"""Store TorchScript with int8 weights, using operators that every build of PyTorch Mobile 2.1 has.

``quantized::`` operators need an engine that a build may lack, so weights are stored as int8 and converted to float by
``aten::type_as`` and ``aten::mul`` whenever the network runs.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.contracts import DeployGraph
from exporters._stored import Kind, Weighted

_WEIGHTED = frozenset({"aten::_convolution", "aten::conv2d", "aten::linear"})


def with_int8_weights(graph: DeployGraph) -> DeployGraph:
    """Round the weights of every convolution and linear layer in the graph, with one scale per output channel."""
    module = copy.deepcopy(graph.module)
    for name, layer in list(module.named_modules()):
        if type(layer) in (nn.Conv2d, nn.Linear):
            module.set_submodule(name, _Int8Weights(layer))
    return replace(graph, module=module)


class _Int8Weights(nn.Module):
    """A layer that converts its weights to its input's type: with a constant type, ``freeze`` would store floats."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        weight = layer.weight.detach()
        scale = weight.abs().flatten(1).amax(1).clamp(min=1e-9) / 127
        self.register_buffer("scale", scale.reshape(-1, *[1] * (weight.ndim - 1)))
        self.register_buffer("weight", (weight / self.scale).round().to(torch.int8))
        self.layer = layer
        del layer.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.type_as(x) * self.scale
        if isinstance(self.layer, nn.Linear):
            return nn.functional.linear(x, weight, self.layer.bias)
        result: torch.Tensor = self.layer._conv_forward(x, weight, self.layer.bias)
        return result


def stored(path: Path) -> list[Weighted]:
    """List every convolution and linear layer with constant weights of a frozen file, in the order of execution."""
    found = []
    for node in torch.jit.load(path, map_location="cpu").inlined_graph.nodes():
        if node.kind() in _WEIGHTED:
            source = operand = list(node.inputs())[1]
            while source.node().kind() in ("aten::mul", "aten::type_as"):
                source = next(source.node().inputs())
            weights = source.toIValue()
            if isinstance(weights, torch.Tensor):
                # int8 weights multiplied with float32 scales, and all activations, are float32.
                operand_type = _name(weights) if source is operand else "float32"
                kind = Kind(_name(weights), operand_type, "float32")
                found.append(Weighted(source.debugName(), weights.numel(), kind))
    return found


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
