from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput
from compress.datasets import fashion_mnist
from compress.datasets.fashion_mnist import FashionMnist


def first_image(root: Path) -> np.ndarray:
    first: np.ndarray = np.asarray(FashionMnist(root=str(root)).splits(seed=0).train.images)[0]
    return first


def test_prefers_the_root_to_debians_files(
    tmp_path: Path, write_idx: Callable[..., Path], digit_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", tmp_path / "debian")
    root = tmp_path / "root"
    with pytest.raises(BadInput, match="dataset-fashion-mnist") as caught:
        first_image(root)
    assert str(root) in str(caught.value)
    assert str(tmp_path / "debian") in str(caught.value)

    write_idx(tmp_path / "debian", first=1)
    assert (first_image(root) == digit_images[0, 1]).all()
    write_idx(root / "MNIST" / "raw", first=2)  # another set's files
    assert (first_image(root) == digit_images[0, 1]).all()
    write_idx(root, first=3)
    assert (first_image(root) == digit_images[0, 3]).all()
    write_idx(root / "FashionMNIST" / "raw", first=4)
    assert (first_image(root) == digit_images[0, 4]).all()


def test_labels_are_clothes(tmp_path: Path, write_idx: Callable[..., Path]) -> None:
    splits = FashionMnist(root=str(write_idx(tmp_path))).splits(seed=0)
    assert (splits.classes[0], splits.classes[9]) == ("T-shirt/top", "Ankle boot")
