"""ALNet that starts from EfficientNet-Lite0: its first layers compute what Lite0's do, and the rest is cut from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from architectures import create_model
from architectures.alnet import ALNet
from architectures.efficientnet_lite import TRAINED_WITH
from compress.contracts import BadInput

Pictures = Callable[..., torch.Tensor]
PLAIN: dict[str, Any] = {"groups": 1, "channel_shuffle": False, "stem_stride": 2, "cbam": False}
WIDE: dict[str, Any] = {**PLAIN, "widths": (16, 24, 40, 80, 112, 192, 320)}


@pytest.fixture(scope="module")
def lite() -> Any:
    return create_model("efficientnet_lite", pretrained=True).eval()


@pytest.fixture(scope="module")
def wide() -> Any:
    return create_model("alnet", **WIDE, pretrained=True).eval()


def test_the_first_blocks_are_lite0s(lite: Any, wide: Any, pictures: Pictures) -> None:
    """On an image whose border is zero and shifted by one pixel, where symmetric and TensorFlow's padding agree."""
    images = torch.zeros(2, 3, 64, 64)
    images[:, :, 8:-8, 8:-8] = pictures(2, 48, 48)
    shifted = images.roll((-1, -1), (2, 3))
    with torch.no_grad():
        expected = lite.trunk[1](lite.trunk[0](images))
        found = wide.blocks[0](wide.stem(shifted))
        fresh = create_model("alnet", **WIDE).eval()
        other = fresh.blocks[0](fresh.stem(shifted))
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    assert float(expected[inner].std()) > 0.1
    assert found[inner] == pytest.approx(expected[inner], abs=1e-3)
    assert other[inner] != pytest.approx(expected[inner], abs=0.1)


def test_larger_kernels_are_cut_and_the_strongest_channels_kept(lite: Any) -> None:
    narrow: Any = create_model("alnet", **PLAIN, widths=(8, 16, 32, 64, 96, 160, 320), head_width=64, pretrained=True)
    kept = sorted(lite.trunk[17][1].weight.abs().argsort(descending=True)[:64].tolist())
    assert torch.equal(narrow.head[0][1].running_mean, lite.trunk[17][1].running_mean[kept])
    assert torch.equal(narrow.head[0][0].weight, lite.trunk[17][0].weight[kept])
    # The input of the last block's project layer follows the hidden channels that its depthwise layer kept.
    depthwise, source = narrow.blocks[2][1][0].weight, lite.trunk[4].layers[1][1].weight
    assert source.shape[2:] == (5, 5)
    rows = [int((source[:, :, 1:4, 1:4] - row).abs().flatten(1).sum(1).argmin()) for row in depthwise]
    assert len(set(rows)) == len(rows)
    outputs = sorted(lite.trunk[4].layers[2][1].weight.abs().argsort(descending=True)[:32].tolist())
    assert torch.equal(narrow.blocks[2][2][0].weight, lite.trunk[4].layers[2][0].weight[outputs][:, rows])


def test_a_checkpoint_needs_no_package(wide: Any) -> None:
    architecture = ALNet(**WIDE, pretrained=True)
    assert architecture.bare() == ALNet(**WIDE)
    assert architecture.normalisation() == TRAINED_WITH
    assert not architecture.has_weights()
    again: Any = architecture.bare().build()
    again.load_state_dict(wide.state_dict())
    # Names of earlier galleries hash the options: new ones must not appear at their defaults.
    assert "pretrained" not in architecture.bare().options()
    assert "cbam_stride" not in ALNet().options()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 8}, "pretrained: Lite0's convolutions have no groups"),
        ({"widths": (16, 24)}, "strides: 7 values for 2 widths"),
        ({"widths": (16, 24), "strides": (2, 2), "expansions": (1, 6)}, "pretrained: Lite0 has 7 stages"),
        ({"widths": (16, 24, 48, 80, 112, 192, 320)}, r"pretrained: widths\[2\] makes 48 channels, Lite0 has 40"),
        ({"expansions": (6, 6, 6, 6, 6, 6, 6)}, r"expansions\[0\] to 1"),
    ],
)
def test_shapes_that_lite0_has_not_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        create_model("alnet", **{**WIDE, **options}, pretrained=True)


def test_attention_begins_at_a_stride() -> None:
    def maps(stride: int) -> list[str]:
        network = replace(ALNet(**WIDE), cbam=True, cbam_stride=stride).build()
        names = [name for name, module in network.named_modules() if type(module).__name__ == "CBAM"]
        return [name.rpartition(".")[0] for name in names]

    assert maps(1) == ["stem", *(f"blocks.{number}" for number in range(7)), "head"]
    assert maps(16) == ["blocks.3", "blocks.4", "blocks.5", "blocks.6", "head"]
    assert maps(64) == []
