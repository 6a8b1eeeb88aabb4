"""ShuffleNet against the sizes of its own paper, and its unit against figure 2."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from architectures import complexity, create_model


# Table 1's last row leaves the classifier out.
@pytest.mark.parametrize(
    ("groups", "channels", "published_mmacs"),
    [(1, 576, 143), (2, 800, 140), (3, 960, 137), (4, 1088, 133), (8, 1536, 137)],
)
def test_table_1(groups: int, channels: int, published_mmacs: int) -> None:
    network = cast(Any, create_model("shufflenet_v1", groups=groups).eval())
    assert network.embedding_dim == channels
    assert round(complexity(network, (224, 224)).macs / 1e6) == published_mmacs
    assert network.trunk(torch.zeros(1, 3, 224, 224)).shape == (1, channels, 7, 7)


@pytest.mark.parametrize(("groups", "width", "dim"), [(3, 0.5, 480), (8, 0.5, 768), (8, 0.25, 384), (4, 0.5, 576)])
def test_scaled_channels_fit_the_groups(groups: int, width: float, dim: int) -> None:
    network = cast(Any, create_model("shufflenet_v1", groups=groups, width=width))
    assert network.embedding_dim == dim
    assert network(torch.zeros(2, 3, 33, 33)).shape == (2, dim)


def test_the_first_grouped_layer_of_stage_2_is_dense_and_later_ones_are_grouped() -> None:
    network = create_model("shufflenet_v1", groups=4)
    groups = [
        layer.groups for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
    ]
    assert groups == [1, *[4] * 31]


def test_units_follow_figure_2() -> None:
    torch.manual_seed(0)
    network = cast(Any, create_model("shufflenet_v1", groups=2).double().eval())
    units = network.trunk[2:]
    assert len(units) == 16
    halving, adding = units[0], units[1]
    x = torch.randn(1, 24, 7, 7, dtype=torch.double)
    joined = torch.cat([nn.functional.avg_pool2d(x, 3, 2, 1), halving.residual(x)], 1).clamp(min=0)
    assert torch.equal(halving(x), joined)
    assert joined.shape == (1, 200, 4, 4)
    assert torch.equal(adding(joined), (joined + adding.residual(joined)).clamp(min=0))
    # ReLU after the first convolution and after joining, none behind the depthwise and the last one.
    assert [type(part[-1]).__name__ for part in adding.residual if isinstance(part, nn.Sequential)] == [
        "ReLU",
        "BatchNorm2d",
        "BatchNorm2d",
    ]


def test_without_pooling_and_stem_stride_1_small_images_keep_16_positions() -> None:
    network = cast(Any, create_model("shufflenet_v1", stem_stride=1, stem_pool=False).eval())
    assert network.trunk(torch.zeros(1, 3, 32, 32)).shape == (1, 960, 4, 4)
