"""MobileNets against the sizes of its own paper."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from architectures import complexity, create_model


@pytest.mark.parametrize(
    ("width", "published_mmacs", "published_mparams", "params"),
    [
        (1.0, 569, 4.2, 4_231_976),
        (0.75, 325, 2.6, 2_585_560),
        (0.5, 149, 1.3, 1_331_592),
        (0.25, 41, 0.5, 470_072),
    ],
)
def test_table_6(width: float, published_mmacs: int, published_mparams: float, params: int) -> None:
    found = complexity(create_model("mobilenet_v1", 1000, width=width), (224, 224))
    assert found.params == params
    assert round(params / 1e6, 1) == published_mparams
    assert round(found.macs / 1e6) == published_mmacs


def test_table_1() -> None:
    network = create_model("mobilenet_v1").eval()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    depthwise = [layer for layer in convolutions if layer.groups > 1]
    assert len(convolutions) == 27
    assert [layer.in_channels for layer in depthwise] == [32, 64, 128, 128, 256, 256, *[512] * 6, 1024]
    assert [layer.stride[0] for layer in depthwise] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    assert all(layer.groups == layer.in_channels == layer.out_channels for layer in depthwise)
    assert cast(Any, network).trunk(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 7, 7)


def test_stem_stride_1_keeps_twice_the_positions() -> None:
    network = cast(Any, create_model("mobilenet_v1", stem_stride=1, width=0.25).eval())
    assert network.trunk(torch.zeros(1, 3, 32, 32)).shape == (1, 256, 2, 2)


def test_narrow_networks_keep_8_channels() -> None:
    narrow = cast(Any, create_model("mobilenet_v1", width=0.1))
    assert narrow.trunk[0][0].out_channels == 8
    assert narrow.embedding_dim == 102
