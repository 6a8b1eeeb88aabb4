"""The network of local features: its packed output taken apart, its trunk's cut, and its classifier by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from architectures import create_model
from compress.contracts import BadInput

Pictures = Callable[..., torch.Tensor]
TRUNK = {"mobilenet_v1": {"width": 0.25}}
"""At stride 16 its maps have 512 / 4 channels."""


@pytest.fixture(scope="module")
def network(calibrate: Callable[[nn.Module], nn.Module]) -> Any:
    torch.manual_seed(0)
    return calibrate(create_model("delf", 5, trunk=TRUNK, sizes=[64, 32], hidden=8))


def test_the_packed_output_taken_apart(network: Any, pictures: Pictures) -> None:
    images = pictures(3, 64, 64)
    with torch.no_grad():
        table = network.embed(images).reshape(3, 4 * 4 + 2 * 2, 43)
        features = network.trunk.trunk(images)  # the first scale is the image's own
        score = F.softplus(network.attention[2](network.attention[0](features).relu()))
    assert features.shape == (3, 128, 4, 4)
    weight, bias = network.reduction.weight[..., 0, 0], network.reduction.bias
    for image, row, column in ((0, 0, 0), (2, 1, 3)):
        found = table[image, row * 4 + column]
        one = features[image, :, row, column]
        reduced = weight @ (one / one.norm()) + bias
        assert found[:40] == pytest.approx((reduced / reduced.norm()).detach().numpy(), abs=1e-5)
        assert found[40:42].tolist() == [(row + 0.5) / 4, (column + 0.5) / 4]
        assert found[42].item() == pytest.approx(score[image, 0, row, column].item(), rel=1e-5)
    assert table[1, 16:, 40:42].tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]


def test_the_second_scale_is_the_image_at_half_its_size(network: Any, pictures: Pictures) -> None:
    images = pictures(2, 64, 64)
    halved = F.avg_pool2d(images, 2)  # bilinear between centres
    with torch.no_grad():
        small = F.interpolate(halved, (64, 64))  # whose own half is ``halved`` again
        expected, found = (network.embed(each).reshape(2, 20, 43)[:, 16:] for each in (small, images))
    assert torch.allclose(expected, found, atol=1e-4)
    assert not torch.allclose(network.embed(small), network.embed(images), atol=1e-2)


def test_logits_are_those_of_the_weighted_sum(network: Any, pictures: Pictures) -> None:
    with torch.no_grad():
        packed = network.embed(pictures(2))
        table = packed.reshape(2, 20, 43)
        mean = sum(table[:, i, :40] * table[:, i, 42:] for i in range(20)) / 20
        assert torch.allclose(
            network.classifier(packed), network.classifier.linear(network.classifier.norm(mean)), atol=1e-5
        )


@pytest.mark.parametrize(
    ("trunk", "stride", "channels"),
    [
        ("mobilenet_v1", 16, 512),
        ("mobilenet_v1", 8, 256),
        ("mobilenet_v1", 32, 1024),
        ({"alnet": {"head_width": 64}}, 16, 64),
        ("shufflenet_v2", 16, 232),
    ],
)
def test_the_trunk_ends_at_the_stride(trunk: Any, stride: int, channels: int) -> None:
    network = cast(Any, create_model("delf", trunk=trunk, stride=stride, sizes=[96]))
    assert network.maps(torch.zeros(1, 3, 50, 70))[0].shape == (1, channels, 96 // stride, 96 // stride)
    assert network.embedding_dim == 43 * (96 // stride) ** 2
    assert network.training and all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trunk": {"alnet": {"stem_stride": 2}}}, "no feature map here has stride 16, the last one's is 32"),
        ({"trunk": {"alnet": {"head_width": 32}}}, "32 channels at stride 16, fewer than the 40 that PCA keeps"),
        ({"trunk": "deep_hash"}, "deep_hash has no feature map"),
        ({"sizes": []}, "sizes: is empty"),
        ({"sizes": [128, 72]}, "sizes: 72 is not a multiple of the stride, 16"),
    ],
)
def test_what_gives_no_features_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        create_model("delf", 5, **options)


def test_a_black_image_gives_finite_features(network: Any) -> None:
    assert bool(network.embed(torch.zeros(1, 3, 64, 64)).isfinite().all())
