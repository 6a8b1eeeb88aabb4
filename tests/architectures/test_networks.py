"""What a network says about its own end is what its embedding comes from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from architectures import RetrievalNetwork, create_model
from tests.architectures.test_models import Pictures

TRUNK = {"alnet": {"stem_width": 16, "widths": [16], "strides": [2], "expansions": [1], "head_width": 32}}
LINEAR: list[tuple[str, dict[str, Any]]] = [
    ("gem", {"trunk": TRUNK, "dim": 8}),
    ("fusion", {"trunk": TRUNK, "dim": 8}),
    ("netvlad", {"trunk": TRUNK, "clusters": 2, "dim": 8}),
    ("projected", {"trunk": TRUNK, "dim": 8}),
]
CODES: list[tuple[str, dict[str, Any]]] = [("deep_hash", {"trunk": TRUNK, "bits": 8})]
NEITHER: list[tuple[str, dict[str, Any]]] = [("alnet", TRUNK["alnet"]), ("gem", {"trunk": TRUNK})]


def gives_the_embedding(network: RetrievalNetwork, layer: nn.Module, images: torch.Tensor) -> bool:
    seen: list[torch.Tensor] = []
    layer.register_forward_hook(lambda _, inputs, output: seen.append(output))
    embedding = network.eval().embed(images)
    return len(seen) == 1 and torch.equal(seen[0].flatten(1), embedding)


@pytest.mark.parametrize(("name", "options"), LINEAR, ids=lambda value: value if isinstance(value, str) else "")
def test_the_linear_end(name: str, options: dict[str, Any], pictures: Pictures) -> None:
    network = create_model(name, 3, **options)
    end = network.linear_end()
    assert end is not None and network.code_layer() is None
    assert gives_the_embedding(network, end, pictures(2))
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    assert not gives_the_embedding(network, first, pictures(2))


@pytest.mark.parametrize(("name", "options"), CODES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_code_layer(name: str, options: dict[str, Any], pictures: Pictures) -> None:
    network = create_model(name, 3, **options)
    layer = network.code_layer()
    assert layer is not None and network.linear_end() is None
    assert gives_the_embedding(network, layer, pictures(2))


@pytest.mark.parametrize(("name", "options"), NEITHER, ids=lambda value: value if isinstance(value, str) else "")
def test_other_networks_end_in_neither(name: str, options: dict[str, Any]) -> None:
    network = create_model(name, 3, **options)
    assert network.linear_end() is None and network.code_layer() is None


def test_a_headless_network_has_no_logits(pictures: Pictures) -> None:
    network = create_model("alnet", **TRUNK["alnet"])
    assert network.logits(network.eval().embed(pictures(2))).shape == (2, 0)
