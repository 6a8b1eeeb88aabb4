from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from compress.contracts import BadInput
from compress.datasets.svhn import Svhn


def write_mat(path: Path, photo: Callable[..., Image.Image], number: int) -> np.ndarray:
    """One picture of each digit, 0 being called 10 as in the published file; uint8 [10, 32, 32, 3]."""
    images = np.stack([np.asarray(photo(digit, number).resize((32, 32))) for digit in range(10)])
    labels = np.array([10, 1, 2, 3, 4, 5, 6, 7, 8, 9], dtype=np.uint8)
    savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]}, do_compression=True)
    return images


def test_reads_images_and_calls_class_ten_zero(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    train = write_mat(tmp_path / "train_32x32.mat", photo, 0)
    test = write_mat(tmp_path / "test_32x32.mat", photo, 1)
    splits = Svhn(root=str(tmp_path)).splits(seed=0)
    assert splits.train.labels.tolist() == list(range(10))
    assert (np.asarray(splits.train.images) == train).all()
    assert (np.asarray(splits.test.images) == test).all()


def test_missing_and_damaged(tmp_path: Path, photo: Callable[..., Image.Image]) -> None:
    write_mat(tmp_path / "train_32x32.mat", photo, 0)
    with pytest.raises(BadInput, match=r"ufldl\.stanford\.edu") as caught:
        Svhn(root=str(tmp_path)).splits(seed=0)
    assert str(tmp_path / "test_32x32.mat") in str(caught.value)
    (tmp_path / "test_32x32.mat").write_bytes((tmp_path / "train_32x32.mat").read_bytes()[:500])
    with pytest.raises(BadInput, match=r"test_32x32\.mat: not SVHN's MATLAB file"):
        Svhn(root=str(tmp_path)).splits(seed=0)
    savemat(tmp_path / "test_32x32.mat", {"X": np.zeros((28, 28, 3, 2), np.uint8), "y": np.ones((2, 1))})
    with pytest.raises(BadInput, match="expected 32x32 RGB"):
        Svhn(root=str(tmp_path)).splits(seed=0)


@pytest.mark.parametrize("labels", [[0.0] * 10, [11] * 10, [1.5] * 10, [np.nan] * 10, [1e300] * 10, ["1"] * 10])
def test_labels_are_digits(tmp_path: Path, photo: Callable[..., Image.Image], labels: list[object]) -> None:
    images = write_mat(tmp_path / "train_32x32.mat", photo, 0)
    savemat(tmp_path / "test_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": np.array(labels)})
    with pytest.raises(BadInput, match=r"test_32x32\.mat: 'y' is not one number from 1 to 10 for each image"):
        Svhn(root=str(tmp_path)).splits(seed=0)


def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, photo: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "test"):
        write_mat(tmp_path / f"{split}_32x32.mat", photo, 0)
    path = tmp_path / "test_32x32.mat"
    savemat(path, {"X": np.zeros((32, 32, 3, 2000), np.uint8), "y": np.ones(2000)}, do_compression=True)
    assert path.stat().st_size < 2**16
    monkeypatch.setattr("compress.datasets.svhn._MOST_BYTES", 2**22)
    with pytest.raises(BadInput, match=r"it unpacks to more than 4,194,304 bytes"):
        Svhn(root=str(tmp_path)).splits(seed=0)
    monkeypatch.setattr("compress.datasets.svhn._MOST_BYTES", 2**23)
    assert len(Svhn(root=str(tmp_path)).splits(seed=0).test) == 2000
