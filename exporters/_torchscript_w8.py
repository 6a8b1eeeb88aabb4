"""Store TorchScript with int8 weights, using operators that every build of PyTorch Mobile 2.1 has.

``quantized::`` operators need an engine that a build may lack, so weights are stored as int8 and converted to float by
``aten::type_as`` and ``aten::mul`` whenever the network runs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.contracts import DeployGraph
from exporters._float_weights import FloatLayers
from exporters._stored import Kind, Weighted

_WEIGHTED = frozenset({"aten::_convolution", "aten::conv2d", "aten::linear"})


def with_int8_weights(graph: DeployGraph, float_layers: FloatLayers) -> DeployGraph:
    """Round the weights of every convolution and linear layer in the graph, with one scale per output channel.

    Those of ``float_layers`` stay in float, and their record becomes part of the metadata.
    """
    module = copy.deepcopy(graph.module)
    layers = {name: layer for name, layer in module.named_modules() if type(layer) in (nn.Conv2d, nn.Linear)}
    kept = {id(layers[name].weight) for name in float_layers.weights if name in layers}
    for name, layer in layers.items():
        if id(layer.weight) not in kept:  # layers that share weights are rounded together, or not at all
            module.set_submodule(name, _Int8Weights(layer))
    return replace(graph, module=module, metadata={**graph.metadata, **float_layers.record(layers)})


def float_weights(path: Path, float_layers: FloatLayers) -> frozenset[str]:
    """The names of the weights that a written file holds in float for these layers."""
    wanted = list(float_layers.weights.values())
    return frozenset(
        name for name, weights, _ in _constants(path) if any(np.array_equal(weights.numpy(), each) for each in wanted)
    )


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
    # int8 weights multiplied with float32 scales, and all activations, are float32.
    return [
        Weighted(name, weights.numel(), Kind(_name(weights), "float32" if scaled else _name(weights), "float32"))
        for name, weights, scaled in _constants(path)
    ]


def _constants(path: Path) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Name and values of each layer's constant weights, and whether the network converts them first."""
    for node in torch.jit.load(path, map_location="cpu").inlined_graph.nodes():
        if node.kind() in _WEIGHTED:
            source = operand = list(node.inputs())[1]
            while source.node().kind() in ("aten::mul", "aten::type_as"):
                source = next(source.node().inputs())
            weights = source.toIValue()
            if isinstance(weights, torch.Tensor):
                yield source.debugName(), weights, source is not operand


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
