"""ResNet is torchvision's, and says what it needs where its weights cannot be fetched."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import create_model
from architectures.resnet import ResNet
from compress.contracts import MissingTool
from compress.system.torchvision import import_torchvision

Pictures = Callable[..., torch.Tensor]


def test_it_is_torchvisions(pictures: Pictures) -> None:
    models = import_torchvision().models
    torch.manual_seed(0)
    theirs = models.resnet18(num_classes=5).eval()
    torch.manual_seed(0)
    ours: Any = create_model("resnet", 5).eval()
    ours.classifier = theirs.fc
    images = pictures(2, 64, 96)
    assert torch.equal(ours(images), theirs(images))
    assert not torch.equal(ours(images), theirs(images.flip(1)))


@pytest.mark.parametrize(("depth", "dim"), [(18, 512), (34, 512), (50, 2048)])
def test_sizes(depth: int, dim: int) -> None:
    with torch.device("meta"):
        network: Any = create_model("resnet", depth=depth)
        theirs = getattr(import_torchvision().models, f"resnet{depth}")()
    assert network.embedding_dim == dim
    count = sum(p.numel() for p in theirs.parameters()) - dim * 1000 - 1000
    assert sum(p.numel() for p in network.parameters()) == count


def test_pretrained_weights_are_read_from_the_cache_or_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pictures: Pictures
) -> None:
    models = import_torchvision().models
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments: Any, **options: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(
        MissingTool, match=r"resnet18-f37072fd\.pth cannot be fetched .*no route.*put the file into .*check"
    ):
        create_model("resnet", pretrained=True)
    theirs = models.resnet18().eval()
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(theirs.state_dict(), folder / "resnet18-f37072fd.pth")
    ours: Any = create_model("resnet", 3, pretrained=True).eval()
    images = pictures(2)
    assert torch.equal(theirs.fc(ours.embed(images)), theirs(images))
    assert ResNet(pretrained=True).normalisation() == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert ResNet(pretrained=True, depth=34).bare() == ResNet(depth=34)
