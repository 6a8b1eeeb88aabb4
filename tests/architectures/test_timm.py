"""timm's networks by name: what they compute, the weights they start from, the ones that cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from architectures import create_model
from architectures.timm import Timm
from compress.contracts import BadInput, MissingTool
from compress.system.torchvision import import_torchvision

LCNET = "lcnet_050"

Pictures = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def original(calibrate: Callable[[nn.Module], nn.Module]) -> Any:
    """timm's network with its head; its features depend on the image."""
    import_torchvision()
    import timm

    torch.manual_seed(0)
    return calibrate(timm.create_model(LCNET, num_classes=7))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_it_computes_what_timm_computes(original: Any, tmp_path: Path, pictures: Pictures, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(original.state_dict(), path) if suffix == ".safetensors" else torch.save(original.state_dict(), path)
    network: Any = create_model("timm", 5, backbone=LCNET, weights=str(path)).eval()
    images = pictures(2, 64, 96)
    with torch.no_grad():
        expected = original.forward_features(images)
        scale = float(expected.abs().max())
        assert float((expected[0] - expected[1]).abs().max()) > 0.1 * scale
        assert torch.allclose(network.feature_map(images), expected, atol=1e-5 * scale)
        assert torch.allclose(network.embed(images), expected.mean((2, 3)), atol=1e-5 * scale)
        fresh: Any = create_model("timm", backbone=LCNET).eval()
        assert not torch.allclose(fresh(images), expected.mean((2, 3)), atol=0.05 * scale)
    assert network.embedding_dim == 256
    assert {type(m) for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {nn.BatchNorm2d}
    assert not [name for name, _ in network.named_parameters() if "conv_head" in name]


@pytest.mark.nightly
def test_hard_activations_survive_export(original: Any, tmp_path: Path, pictures: Pictures) -> None:
    from exporters import export_model
    from tests.exporters._runners import reference, run

    torch.save(original.state_dict(), tmp_path / "weights.pth")
    network = create_model("timm", backbone=LCNET, weights=str(tmp_path / "weights.pth")).eval()
    images = ((pictures(2, 48, 48) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy().copy()
    found = run(export_model(network, tmp_path / "lcnet.tflite", input_size=48), images)
    right, swapped = (reference(network, np.ascontiguousarray(shown)) for shown in (images, images[..., ::-1]))
    assert np.abs(found - right).max() < 5e-4 * np.abs(right).max()
    assert np.abs(found - swapped).max() > 1e-2 * np.abs(right).max()


OTHERS = {
    "test_convnext": (96, 64),
    "test_efficientnet_evos": (96, 256),
    "tf_mobilenetv3_small_minimal_100": (96, 576),
    "test_vit": (160, 64),
}
"""Transformers, and networks whose code depends on sizes: an image size that they take, and their dimension."""
LARGER = {
    "vit_tiny_patch16_224": (224, 192),
    "swin_tiny_patch4_window7_224": (224, 768),
    "inception_v3": (160, 2048),
    "efficientvit_b0": (96, 128),
    "mobilevit_xxs": (96, 320),
    "tiny_vit_5m_224": (224, 320),
}


@pytest.mark.every_change("test_efficientnet_evos")
@pytest.mark.parametrize("name", [*OTHERS, *(pytest.param(name, marks=pytest.mark.nightly) for name in LARGER)])
@torch.no_grad()
def test_other_families_give_one_vector_and_are_exported(name: str, pictures: Pictures, tmp_path: Path) -> None:
    from exporters import export_model

    size, dim = {**OTHERS, **LARGER}[name]
    network: Any = create_model("timm", backbone=name).eval()
    x = pictures(2, size, size)
    features = network.trunk.model.forward_features(x)
    if features.ndim == 3:
        want = features[:, network.trunk.prefixes :].mean(1)
    else:
        want = features.mean((2, 3) if features.shape[1] == dim else (1, 2))
    assert want.shape == (2, dim)
    torch.testing.assert_close(network(x), want, rtol=1e-4, atol=1e-5)
    export_model(network, tmp_path / "m.pt", input_size=size)  # which compares the file with the network


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backbone": "mobilenetv4_conv_smal"},
            "has no network 'mobilenetv4_conv_smal'; did you mean 'mobilenetv4_conv_s",
        ),
        ({"backbone": LCNET, "weights": "nowhere.pth"}, r"timm\.weights: no file at .*nowhere\.pth"),
        (
            {"backbone": LCNET, "weights": "a.pth", "pretrained": True},
            r"pretrained and weights=a\.pth: give one of them",
        ),
        ({"backbone": "lcnet_035", "pretrained": True}, "timm has no weights for 'lcnet_035'; set timm.weights"),
    ],
)
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        create_model("timm", **options)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(original: Any, tmp_path: Path) -> None:
    torch.save(original.state_dict(), tmp_path / "lcnet.pth")
    with pytest.raises(
        BadInput, match=r"lcnet\.pth: 'conv_stem\.weight' holds \[8, 3, 3, 3\], the network needs \[16, "
    ):
        create_model("timm", backbone="lcnet_100", weights=str(tmp_path / "lcnet.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(BadInput, match=r"text\.pth holds no state dict"):
        create_model("timm", backbone=LCNET, weights=str(tmp_path / "text.pth"))


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingTool, match=r"the weights of 'lcnet_050' cannot be fetched .* set timm\.weights"):
        create_model("timm", backbone=LCNET, pretrained=True)
    architecture = Timm(backbone=LCNET, pretrained=True)
    assert architecture.bare() == Timm(backbone=LCNET)
    assert architecture.normalisation() == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert Timm(backbone=LCNET).normalisation() is None


def test_our_file_does_not_hide_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    assert Path(timm.__file__).name == "__init__.py"
    assert sys.modules["timm"] is timm
    assert sys.modules["architectures.timm"] is not timm
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingTool, match=r"timm: not installed; .*compress-retrieval\[backbones\]"):
        create_model("timm")
