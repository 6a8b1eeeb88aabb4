"""A network without its dead channels computes what it computed with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from compress.pruning.bundles import make_bundles
from compress.pruning.channels import Channels
from compress.pruning.plan import prunable
from compress.stages.prune import prune_model
from tests.pruning.conftest import kill

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("alnet", {}),
    ("alnet", {"groups": 2}),
    ("alnet", {"groups": 4, "stem_stride": 2}),
    ("alnet", {"groups": 1}),
    ("alnet", {"cbam": False}),
    ("alnet", {"cbam": False, "channel_shuffle": False}),
    ("shufflenet_v1", {}),
    ("shufflenet_v1", {"groups": 8}),
    ("shufflenet_v2", {"width": 0.5}),
    ("mobilenet_v1", {"width": 0.5}),
    ("mobilenet_v2", {}),
    ("mobilenet_v3", {}),
    ("efficientnet_b0", {}),
    ("efficientnet_lite0", {}),
]
EMBEDDING_TOO: list[tuple[str, dict[str, Any]]] = [
    ("alnet", {}),
    ("shufflenet_v1", {}),
    ("shufflenet_v2", {"width": 0.5}),
    ("mobilenet_v3", {}),
]
CASES = [(*network, False) for network in NETWORKS] + [(*network, True) for network in EMBEDDING_TOO]
IDS = ["-".join([name, *map(str, options.values()), *["embedding"] * too]) for name, options, too in CASES]


def silence(network: nn.Module, channels: Channels, classes: set[int]) -> None:
    """Zero every layer that produces or normalises one of these classes."""
    for name, ids in {**channels.produced, **channels.carried}.items():
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            kill(layer, [place for place, number in enumerate(ids.tolist()) if number in classes])


def random_dead(
    network: nn.Module, images: torch.Tensor, seed: int, prune_embedding: bool = False
) -> tuple[nn.Module, float]:
    """A copy with a random third of every layer dead, balanced over groups, and the share that is dead of all."""
    found = prunable(network, images, fix_embedding=not prune_embedding)
    generator = torch.Generator().manual_seed(seed)
    dead: set[int] = set()
    for layer in found.layers.values():
        bundles = make_bundles(layer, {c: float(torch.rand(1, generator=generator)) for c in layer.classes}, 1, set())
        dead |= {c for bundle in bundles[: (len(bundles) + 1) // 3] for c in bundle.classes}
    masked = copy.deepcopy(network)
    silence(masked, found.channels, dead)
    return masked, len(dead) / found.width()


@pytest.mark.every_change("alnet-embedding")
@pytest.mark.parametrize(("name", "options", "prune_embedding"), CASES, ids=IDS)
def test_without_its_dead_channels_a_network_computes_the_same(
    name: str,
    options: dict[str, Any],
    prune_embedding: bool,
    network: Callable[..., Any],
    settle: Callable[[nn.Module], nn.Module],
    pictures: torch.Tensor,
) -> None:
    whole = network(name, **options)
    images = pictures[:4]
    masked, share = random_dead(whole, images, seed=7, prune_embedding=prune_embedding)
    settle(masked)
    small = prune_model(masked, images, share, prune_embedding=prune_embedding)
    assert parameters(small) < 0.8 * parameters(masked)
    with torch.no_grad():
        before, expected, logits = whole(images), masked(images), small(images)
        assert_same(logits, expected)
        # In double precision nothing but the mathematics is left.
        masked, images = masked.double(), images.double()
        small = prune_model(masked, images, share, prune_embedding=prune_embedding)
        assert float((small(images) - masked(images)).abs().max()) <= 1e-11
    # The comparison can fail: images differ, and the dead channels had a say before they died.
    spread = float((expected - expected.mean(0)).abs().max())
    assert spread > 1e-2
    assert float((expected - before).abs().max()) > spread / 10


def assert_same(outputs: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to float rounding: 1e-5, of the largest value where that is above 1."""
    assert float((outputs - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
