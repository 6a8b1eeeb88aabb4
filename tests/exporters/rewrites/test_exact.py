"""All rewrites together leave every kind of network what it computes, at odd sizes, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from architectures import create_model
from compress.contracts import DeployGraph, Exporter, Optimize, Preprocess
from compress.stages.prune import prune_model
from exporters._deploy import Deployed, optimized
from exporters.coreml import CoreML
from exporters.onnx import Onnx
from exporters.rewrites._choice import weight_bytes
from exporters.tflite import TFLite
from exporters.torchscript import TorchScript
from tests.exporters.conftest import SIZE
from tests.exporters.rewrites._networks import TOLERANCE, difference, traced

EXPORTERS: list[type[Exporter]] = [TFLite, Onnx, TorchScript, CoreML]
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("alnet", {"stem_stride": 2}),
    ("alnet", {"stem_stride": 1, "groups": 4, "widths": (8, 16, 24), "strides": (2, 1, 2), "expansions": (2, 3, 4)}),
    (
        "alnet",
        {"groups": 2, "reduction": 4, "widths": (10, 6), "strides": (2, 2), "expansions": (1, 5), "stem_width": 6},
    ),
    ("alnet", {"cbam": False}),
    ("alnet", {"cbam": False, "channel_shuffle": False}),
    ("shufflenet_v1", {"groups": 3, "width": 0.5}),
    ("shufflenet_v1", {"groups": 8, "width": 0.25, "stem_pool": False}),
    ("shufflenet_v2", {"width": 0.5}),
    ("mobilenet_v1", {"width": 0.25}),
    ("mobilenet_v2", {}),
]


def check(
    network: nn.Module, size: tuple[int, int], exporter: type[Exporter], optimize: Optimize, images: np.ndarray
) -> str:
    deployed = Deployed(network, Preprocess(size), "l2")
    graph = optimized(DeployGraph(deployed, size, {}), exporter(optimize=optimize))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert difference(deployed, graph.module, pixels) < TOLERANCE
    if optimize == "size":
        spared = _merged_bytes(deployed) if exporter is TFLite else 0
        assert weight_bytes(graph.module) <= weight_bytes(traced(deployed)) + 4 * 3 * size[1] + spared  # type: ignore[arg-type]
    if exporter is TFLite:
        assert not any(_wrong_on_gpu(conv, conv.groups) for conv in _convolutions(graph.module))
    return str(graph.metadata["rewrites"])


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def _wrong_on_gpu(conv: nn.Conv2d, groups: int) -> bool:
    channels = conv.in_channels // groups, conv.out_channels // groups
    return groups > 1 and channels[0] > 1 and any(count % 4 for count in channels)


def _merged_bytes(network: nn.Module) -> int:
    """What the smallest file needs because a GPU computes some groups wrongly."""
    found = 0
    for conv in _convolutions(network):
        groups = conv.groups
        while conv.groups % groups or _wrong_on_gpu(conv, groups):
            groups -= 1
        found += conv.weight.numel() * conv.weight.element_size() * (conv.groups // groups - 1)
    return found


# All at the odd size, where tiles and strides leave remainders; an even one adds tiles that fit.
@pytest.mark.every_change("0-size0")
@pytest.mark.parametrize(
    ("number", "size"), [*((number, (37, 53)) for number in range(len(NETWORKS))), (0, (64, 64)), (1, (64, 64))]
)
def test_random_weights(
    number: int, size: tuple[int, int], calibrate: Callable[..., nn.Module], tinted: Callable[..., np.ndarray]
) -> None:
    name, options = NETWORKS[number]
    torch.manual_seed(number)
    network = calibrate(create_model(name, **options), *size)
    images = tinted(4, *size, first=100)
    for exporter in EXPORTERS:
        for optimize in ("speed", "size"):
            chosen = check(network, size, exporter, optimize, images)  # type: ignore[arg-type]
            assert "normalisation:" in chosen
            shuffled = options.get("channel_shuffle", not name.startswith("mobilenet"))
            pieces = name == "shufflenet_v2" and exporter is TFLite
            assert ("pieces:" in chosen) == pieces
            assert ("shuffle:" in chosen) == (shuffled and not pieces)
            attention = name == "alnet" and options.get("cbam", True)
            assert ("sum:" in chosen) == attention
            assert ("tiles:" in chosen) == (attention and optimize == "speed" and exporter is not CoreML)
            assert ("reduction:" in chosen) == (attention and exporter is Onnx)
            # torchvision's networks activate in place already.
            assert ("activation:" in chosen) == (
                exporter is TorchScript and name not in ("shufflenet_v2", "mobilenet_v2")
            )


@pytest.mark.nightly
def test_trained_weights(trained: nn.Module, tinted: Callable[..., np.ndarray]) -> None:
    for exporter in EXPORTERS:
        check(trained, SIZE, exporter, "speed", tinted(4, *SIZE, first=1000))


@pytest.mark.nightly
def test_a_pruned_network(trained: nn.Module, tinted: Callable[..., np.ndarray]) -> None:
    pruned = prune_model(trained, torch.zeros(1, 3, *SIZE), 0.4)
    for exporter in EXPORTERS:
        check(pruned, SIZE, exporter, "speed", tinted(4, *SIZE, first=1000))


def test_none_leaves_the_network(trained: nn.Module) -> None:
    graph = DeployGraph(Deployed(trained, Preprocess(SIZE), "l2"), SIZE, {})
    assert optimized(graph, TFLite(optimize="none")) is graph


def test_the_same_network_gets_the_same_forms(trained: nn.Module) -> None:
    graph = DeployGraph(Deployed(trained, Preprocess(SIZE), "l2"), SIZE, {})
    first, second = (optimized(graph, TFLite()) for _ in range(2))
    assert first.metadata == second.metadata
    assert all(torch.equal(a, b) for a, b in zip(first.module.parameters(), second.module.parameters(), strict=True))


def test_int8_files_stay_small_without_groups(trained: nn.Module) -> None:
    graph = DeployGraph(Deployed(trained, Preprocess(SIZE), "l2"), SIZE, {})
    stored = weight_bytes(graph.module)
    for optimize, least, most in (("size", 0.9, 1.0), ("speed", 1.0, 1.1)):
        written = optimized(graph, TFLite(precision="w8", optimize=optimize)).module  # type: ignore[arg-type]
        assert all(conv.groups in (1, conv.in_channels) for conv in _convolutions(written))
        assert least * stored < weight_bytes(written) <= most * stored + 4 * 3 * SIZE[1]
