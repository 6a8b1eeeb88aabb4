"""Where nothing is shuffled, torch-pruning's dependency graph is an independent second opinion."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning
from torch import nn

from compress.pruning.bundles import find_layers
from compress.pruning.tracing import trace_channels


@pytest.mark.parametrize(
    ("name", "options"),
    [("mobilenet_v1", {"width": 0.25}), ("mobilenet_v2", {}), ("mobilenet_v3", {}), ("efficientnet_b0", {})],
)
def test_the_same_layers_go_together(
    name: str, options: dict[str, Any], network: Callable[..., Any], pictures: torch.Tensor
) -> None:
    net, images = network(name, **options), pictures[:1]
    channels = trace_channels(net, images)
    layers = find_layers(net, channels)
    graph = torch_pruning.DependencyGraph().build_dependency(copy.deepcopy(net).eval(), example_inputs=images)
    modules = dict(graph.model.named_modules())
    names = {module: name for name, module in modules.items()}
    for layer in layers:
        first = modules[layer.name]
        prune: Any = torch_pruning.prune_linear_out_channels
        if isinstance(first, nn.Conv2d):
            prune = torch_pruning.prune_conv_out_channels
        group = graph.get_pruning_group(first, prune, idxs=[1])
        theirs = {(names[d.target.module], d.handler.__name__) for d, _ in group if d.target.module in names}
        produced = {n for n, handler in theirs if "out_channels" in handler and weighted(modules[n])}
        read = {n for n, handler in theirs if "in_channels" in handler}
        number = layer.classes[1]
        ours = {n for n, ids in channels.produced.items() if number in ids.tolist()}
        assert produced == ours
        consumers = {n for n, ids in channels.read.items() if number in ids.tolist()}
        assert read == consumers - channels.depthwise
    assert len(layers) > 5


def weighted(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear)
