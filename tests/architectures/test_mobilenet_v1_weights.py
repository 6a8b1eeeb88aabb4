"""MobileNetV1 with TensorFlow's weights: TensorFlow's padding, activation and epsilon, compared with a slow version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from architectures import create_model
from architectures.mobilenet_v1 import MobileNetV1
from compress.contracts import BadInput

Pictures = Callable[..., torch.Tensor]
WIDTH = 0.25
STRIDES = {2: 2, 4: 2, 6: 2, 12: 2}
"""Depthwise layers of stride 2, by their number in TensorFlow."""


def tensors() -> dict[str, torch.Tensor]:
    """Random weights under TensorFlow's names, with statistics that keep the signal's size."""
    generator = torch.Generator().manual_seed(0)
    widths = [8, 16, 32, 32, 64, 64, *(128,) * 6, 256, 256]
    found: dict[str, torch.Tensor] = {}

    def layer(name: str, out: int, into: int, kernel: int) -> None:
        fan = into * kernel * kernel
        found[f"{name}.conv.weight"] = torch.randn(out, into, kernel, kernel, generator=generator) * (2 / fan) ** 0.5
        found[f"{name}.bn.weight"] = torch.rand(out, generator=generator) + 0.5
        found[f"{name}.bn.bias"] = torch.randn(out, generator=generator) * 0.3
        found[f"{name}.bn.running_mean"] = torch.randn(out, generator=generator) * 0.1
        # Small variances, so that the epsilon counts.
        found[f"{name}.bn.running_var"] = torch.rand(out, generator=generator) * 0.5 + 0.01

    layer("Conv2d_0", widths[0], 3, 3)
    for number in range(1, 14):
        layer(f"Conv2d_{number}_depthwise", widths[number - 1], 1, 3)
        layer(f"Conv2d_{number}_pointwise", widths[number], widths[number - 1], 1)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mobilenet.safetensors"
    stored = {name: t.half() if ".conv." in name else t for name, t in tensors().items()}
    save_file(stored, path)
    return path


def as_tensorflow(images: torch.Tensor, epsilon: float = 1e-3) -> torch.Tensor:
    """The network written out: "same" padding computed from sizes, as TensorFlow's documentation defines it."""
    weights = tensors()

    def layer(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        kernel = weights[f"{name}.conv.weight"].half().double()
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel.shape[2] - size, 0)
            pads += [total // 2, total - total // 2]
        groups = x.shape[1] if "depthwise" in name else 1
        y = F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=groups)
        mean, variance, scale, bias = (
            weights[f"{name}.bn.{key}"][:, None, None].double()
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((y - mean) / (variance + epsilon).sqrt() * scale + bias).clamp(0, 6)

    x = layer(images, "Conv2d_0", 2)
    for number in range(1, 14):
        x = layer(x, f"Conv2d_{number}_depthwise", STRIDES.get(number, 1))
        x = layer(x, f"Conv2d_{number}_pointwise")
    return x.mean((2, 3))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (128, 128)])
def test_features_are_tensorflows(file: Path, pictures: Pictures, height: int, width: int) -> None:
    network: Any = create_model("mobilenet_v1", width=WIDTH, weights=str(file)).eval().double()
    images = pictures(2, height, width).double()
    with torch.no_grad():
        found, expected = network(images), as_tensorflow(images)
    assert float(expected.std()) > 0.1
    assert found == pytest.approx(expected, abs=1e-6)
    # What a wrong reader would give: torch's epsilon, symmetric padding.
    assert found != pytest.approx(as_tensorflow(images, epsilon=1e-5), abs=1e-3)
    for module in network.modules():
        if isinstance(module, nn.ZeroPad2d):
            module.padding = (1, 1, 1, 1)
    with torch.no_grad():
        assert network(images) != pytest.approx(expected, abs=1e-2)


def test_its_checkpoint_keeps_the_variant_and_needs_no_file(file: Path, pictures: Pictures) -> None:
    architecture = MobileNetV1(width=WIDTH, weights=str(file))
    assert architecture.normalisation() == ((0.5,) * 3, (0.5,) * 3)
    assert architecture.has_weights()
    bare = architecture.bare()
    assert bare == MobileNetV1(width=WIDTH, tensorflow=True)
    assert bare.bare() == bare
    one, other = architecture.build(3).eval(), bare.build(3).eval()
    other.load_state_dict(one.state_dict())
    images = pictures(2)
    with torch.no_grad():
        assert torch.equal(one(images), other(images))


def test_options_of_earlier_galleries_stay() -> None:
    """Names of embedding spaces hash the options, so new ones at their defaults must not appear."""
    assert MobileNetV1().options() == {"width": 1.0, "stem_stride": 2}
    assert MobileNetV1(tensorflow=True).options()["tensorflow"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("Conv2d_7_pointwise.bn.bias"), "'Conv2d_7_pointwise.bn.bias' holds nothing"),
        (
            lambda t: t.update({"Conv2d_0.conv.weight": torch.zeros(8, 3, 1, 1)}),
            r"holds \[8, 3, 1, 1\], ",
        ),
    ],
)
def test_other_weights_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    stored = tensors()
    change(stored)
    save_file(stored, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match=message):
        create_model("mobilenet_v1", width=WIDTH, weights=str(tmp_path / "other.safetensors"))


def test_the_published_padding_is_on_strided_layers_alone() -> None:
    padded = [m for m in create_model("mobilenet_v1", tensorflow=True).modules() if isinstance(m, nn.ZeroPad2d)]
    assert [m.padding for m in padded] == [(0, 2, 0, 2)] * 5
