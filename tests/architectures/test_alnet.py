"""ALNet and its ablations: published sizes, the effect of each option, reload in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from architectures import RetrievalNetwork, count_macs, count_parameters, create_model
from architectures.alnet import ALNet
from compress.contracts import BadInput

LNET = {"channel_shuffle": False, "cbam": False}

# A network as structured pruning leaves it: widths in no ratio to each other.
PRUNED: dict[str, Any] = {
    "stem_stride": 2,
    "groups": 4,
    "stem_width": 24,
    "widths": [16, 20, 32, 56, 96, 100, 280],
    "hidden_widths": [20, 92, 104, 180, 300, 404, 900],
    "head_width": 1000,
}

Pictures = Callable[..., torch.Tensor]
Calibrate = Callable[[nn.Module], nn.Module]


@pytest.mark.parametrize(
    ("options", "classes", "params"),
    [
        (LNET, 10, 546_010),
        ({"cbam": False}, 10, 546_010),
        ({"channel_shuffle": False}, 10, 769_692),
        ({}, 10, 769_692),
        ({}, 0, 756_882),
        ({"stem_stride": 2}, 0, 756_882),
    ],
)
def test_published_sizes(options: dict[str, Any], classes: int, params: int) -> None:
    assert count_parameters(create_model("alnet", classes, **options)) == params


def test_one_block_follows_table_1_of_the_paper() -> None:
    t, g, c_in, c_out = 6, 8, 24, 32
    network = cast(Any, create_model("alnet", **LNET))
    block = network.blocks[2]
    convolutions = sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, nn.Conv2d))
    assert convolutions == t * c_in * ((c_in + c_out) / g + 9)
    # The FLOPs sum of the table: the first convolution before the stride, the other two after it.
    assert count_macs(Block(block, c_in), (8, 8)) == 3 * c_in + t * c_in * (c_in / g * 64 + (c_out / g + 9) * 16)


class Block(nn.Module):
    """A block alone, behind a 1x1 average of the picture (3 x channels multiply-accumulates) stretched to its input."""

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 1, bias=False)
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.block(self.stem(x[:, :, :1, :1]).expand(-1, -1, *x.shape[2:])))


def test_feature_map_sizes() -> None:
    network = cast(Any, create_model("alnet").eval())
    sizes, x = [], network.stem(torch.zeros(1, 3, 32, 32))
    for block in network.blocks:
        x = block(x)
        sizes.append(tuple(x.shape[1:3]))
    assert sizes == [(16, 32), (24, 16), (32, 8), (64, 4), (96, 4), (160, 2), (320, 2)]


def test_switching_the_shuffle_off_changes_the_features_of_the_same_weights(
    pictures: Pictures, calibrate: Calibrate
) -> None:
    torch.manual_seed(0)
    shuffled = cast(RetrievalNetwork, calibrate(create_model("alnet")))
    plain = create_model("alnet", channel_shuffle=False).eval()
    with_shuffle = list(cast(Any, shuffled).state_dict().values())
    plain.load_state_dict(dict(zip(plain.state_dict(), with_shuffle, strict=True)))
    images = pictures(4)
    cosine = nn.functional.cosine_similarity(plain(images), shuffled(images))
    assert cosine.max() < 0.9


def test_without_the_shuffle_groups_do_not_exchange_information() -> None:
    def reached(shuffle: bool) -> int:
        network = cast(Any, create_model("alnet", channel_shuffle=shuffle, cbam=False).double().eval())
        for layer in network.blocks[2].modules():
            if isinstance(layer, nn.Conv2d):  # positive weights, so that no ReLU6 hides a path
                layer.weight.data.abs_()
        x = torch.rand(1, 24, 4, 4, dtype=torch.double)
        changed = x.clone()
        changed[:, :3] += 1  # the first of 8 groups
        difference = (network.blocks[2](changed) - network.blocks[2](x)).abs().amax((0, 2, 3))
        return int((difference > 0).sum())

    torch.manual_seed(0)
    assert reached(shuffle=False) == 4
    assert reached(shuffle=True) == 32


def test_attention_follows_the_stem_every_block_and_the_head() -> None:
    def attentions(network: nn.Module) -> list[str]:
        return [name for name, module in network.named_modules() if type(module).__name__ == "CBAM"]

    found = attentions(create_model("alnet"))
    assert found == ["stem.1", *(f"blocks.{number}.4" for number in range(7)), "head.1"]
    assert attentions(create_model("alnet", cbam=False)) == []


def test_a_block_is_figure_2_layer_by_layer(calibrate: Calibrate) -> None:
    torch.manual_seed(0)
    block = cast(Any, calibrate(create_model("alnet")).double()).blocks[2]
    expand, _, depthwise, project, attention = block
    x = torch.randn(2, 24, 6, 6, dtype=torch.double)

    def apply(x: torch.Tensor, layer: nn.Sequential, **options: Any) -> torch.Tensor:
        convolution, norm = cast(Any, layer[0]), cast(Any, layer[1])
        x = nn.functional.conv2d(x, convolution.weight, **options)
        fitted = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
        result: torch.Tensor = fitted * norm.weight[:, None, None] + norm.bias[:, None, None]
        return result

    y = apply(x, expand, groups=8).clamp(0, 6)
    y = torch.stack([y[:, i * 18 + j] for j in range(18) for i in range(8)], dim=1)
    y = apply(y, depthwise, groups=144, stride=2, padding=1).clamp(0, 6)
    linear = apply(y, project, groups=8)
    assert linear.min() < 0  # no activation behind the last convolution
    assert torch.allclose(block(x), attention(linear), atol=1e-12)
    assert not torch.allclose(block(x), attention(linear.clamp(0, 6)), atol=1e-2)


def test_hidden_widths_replace_expansions() -> None:
    same = create_model("alnet", 10, hidden_widths=ALNet().hidden)
    assert count_parameters(same) == 769_692
    assert ALNet().hidden == (32, 96, 144, 192, 384, 576, 960)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 3}, "groups: 3 does not divide the 32 channels of stem_width; change groups or that width"),
        ({"widths": [16, 24, 32, 60, 96, 160, 320]}, "groups: 8 does not divide the 60 channels of widths[3]"),
        ({"hidden_widths": [32, 96, 144, 192, 380, 576, 960]}, "the 380 channels of hidden_widths[4]"),
        ({"strides": [1, 2]}, "strides: 2 values for 7 widths; give one for each block"),
        ({"expansions": [6]}, "expansions: 1 values for 7 widths"),
        ({"hidden_widths": [32]}, "hidden_widths: 1 values for 7 widths"),
        ({"widths": [], "strides": [], "expansions": []}, "widths: is empty"),
    ],
)
def test_widths_that_do_not_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        create_model("alnet", **options)
    assert str(caught.value).startswith("alnet: ")
    assert message in str(caught.value)


@pytest.mark.every_change("pruned")
@pytest.mark.parametrize("options", [{}, PRUNED], ids=["published", "pruned"])
def test_reload_in_another_process(
    options: dict[str, Any], tmp_path: Path, pictures: Pictures, calibrate: Calibrate
) -> None:
    torch.manual_seed(0)
    network = cast(RetrievalNetwork, calibrate(create_model("alnet", 10, **options)))
    images = pictures(3)
    torch.save({"weights": network.state_dict(), "images": images}, tmp_path / "in.pt")
    code = f"""
import json, torch
from architectures import create_model
stored = torch.load(r"{tmp_path / "in.pt"}", weights_only=True)
network = create_model("alnet", 10, **json.loads('{json.dumps(options)}')).eval()
fresh = network.embed(stored["images"])
network.load_state_dict(stored["weights"])
torch.save([fresh, network.embed(stored["images"])], r"{tmp_path / "out.pt"}")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    fresh, loaded = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.allclose(loaded, network.embed(images), atol=1e-5)
    assert not torch.allclose(fresh, loaded, atol=1e-2)
