"""Networks side by side: each gets the image as its weights expect it, and a checkpoint needs none of their sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from architectures import create_model
from architectures.ensemble import Ensemble
from architectures.mobilenet_v1 import MobileNetV1
from compress.contracts import BadInput, EmbeddingSpec, Model, Preprocess
from compress.model.checkpoint import load_model, save_model
from tests.architectures.test_mobilenet_v1_weights import file as file  # a fixture

Pictures = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def ensemble(file: Path) -> Ensemble:
    lite = {"efficientnet_lite": {"pretrained": True}}
    return Ensemble(trunks=(lite, {"mobilenet_v1": {"width": 0.25, "weights": str(file)}}), dim=5)


def test_each_network_gets_the_image_as_it_expects_it(ensemble: Ensemble, file: Path, pictures: Pictures) -> None:
    network: Any = ensemble.build().eval()
    assert ensemble.normalisation() == ((127 / 255,) * 3, (128 / 255,) * 3)
    pixels = pictures(2, 64, 64).sigmoid() * 255
    lite: Any = create_model("efficientnet_lite", pretrained=True).eval()
    mobilenet: Any = create_model("mobilenet_v1", width=0.25, weights=str(file)).eval()
    with torch.no_grad():
        features = torch.cat([F.normalize(lite((pixels - 127) / 128)), F.normalize(mobilenet(pixels / 127.5 - 1))], 1)
        expected = features @ network.projection.weight.flatten(1).T + network.projection.bias
        found = network((pixels - 127) / 128)
    assert found == pytest.approx(expected, abs=1e-4)
    assert float(expected.std()) > 0.01


def test_a_checkpoint_needs_no_other_file(ensemble: Ensemble, pictures: Pictures, tmp_path: Path) -> None:
    network: Any = ensemble.build(3)
    model = Model(ensemble, network, ("a", "b", "c"), Preprocess((32, 32)), EmbeddingSpec(5))
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    images = pictures(2)
    assert torch.equal(again.network.eval()(images), network.eval()(images))
    bare = ensemble.bare()
    assert not bare.has_weights()
    assert ensemble.has_weights()
    assert bare.bare() == bare


def test_one_network_and_codes_are_refused() -> None:
    with pytest.raises(BadInput, match="trunks: 1 networks; name two or more"):
        create_model("ensemble", trunks=["alnet"])
    with pytest.raises(BadInput, match="trunks: deep_hash gives hash codes"):
        create_model("ensemble", trunks=["alnet", "deep_hash"])
    with pytest.raises(BadInput, match=r"trunks\.1: 'alnett' is not one of"):
        create_model("ensemble", trunks=["alnet", "alnett"])
    assert MobileNetV1().normalisation() is None
