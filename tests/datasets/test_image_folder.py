from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.contracts import BadInput, Splits
from compress.datasets.image_folder import ImageFolder


def splits(root: Path, seed: int = 0, **options: object) -> Splits:
    return ImageFolder(root=str(root), **options).splits(seed)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    save_photos(tmp_path / "Kühe", 0, 10)
    save_photos(tmp_path / "cats" / "indoor", 1, 5, name="{}.PNG")
    save_photos(tmp_path / "cats" / "outdoor", 1, 5, first=5, name="{}.webp")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cats" / ".DS_Store").write_bytes(b"x")
    return tmp_path


def test_divides_each_class_by_the_seed(folder: Path) -> None:
    found = splits(folder)
    assert found.classes == ("Kühe", "cats")
    assert np.bincount(found.train.labels).tolist() == [8, 8]
    assert np.bincount(found.test.labels).tolist() == [2, 2]
    assert len({*found.train.ids, *found.test.ids}) == 20
    for samples in (found.train, found.test):
        assert all(name.startswith(found.classes[c]) for name, c in zip(samples.ids, samples.labels, strict=True))
    assert splits(folder).test.ids == found.test.ids
    assert splits(folder, seed=1).test.ids != found.test.ids
    assert len(splits(folder, test_share=0.5).test) == 10


def test_copies_are_dropped_unless_wanted(folder: Path) -> None:
    shutil.copy(folder / "cats/indoor/0.PNG", folder / "Kühe/copy.png")
    found = splits(folder)
    assert (found.duplicates, len(found.train) + len(found.test)) == (1, 20)
    kept = splits(folder, drop_duplicates=False)
    assert (kept.duplicates, len(kept.train) + len(kept.test)) == (0, 21)


def test_takes_the_folders_train_and_test_as_they_are(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / "train" / name, label, 4)
        save_photos(tmp_path / "val" / name, label, 2, first=4)
    found = splits(tmp_path)
    assert (len(found.train), len(found.test)) == (8, 4)  # without test, validation is the test set
    for label, name in enumerate(["cats", "dogs"]):
        save_photos(tmp_path / "test" / name, label, 3, first=6)
    found = splits(tmp_path)
    assert (len(found.train), len(found.test)) == (12, 6)
    assert {name.partition("/")[0] for name in found.train.ids} == {"train", "val"}
    assert splits(tmp_path, seed=5).test.ids == found.test.ids

    shutil.copy(tmp_path / "train/cats/000000.jpg", tmp_path / "test/cats/leak.jpg")
    found = splits(tmp_path)
    assert (found.duplicates, len(found.train), len(found.test)) == (1, 12, 6)

    save_photos(tmp_path / "test" / "Cats", 0, 1)
    with pytest.raises(BadInput, match=r"test/Cats has no counterpart among the training classes \(cats, dogs\)"):
        splits(tmp_path)


def fails(root: Path, *parts: str) -> None:
    with pytest.raises(BadInput) as caught:
        splits(root)
    message = str(caught.value)
    assert message.startswith("data.root: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_bad_folders_are_named(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    fails(tmp_path / "nowhere", "was not found", str(tmp_path / "nowhere"), "CLASS/*.jpg")
    fails(tmp_path, "no class folders", str(tmp_path))
    save_photos(tmp_path, 0, 2)
    fails(tmp_path, "no class folders", "CLASS/")
    save_photos(tmp_path / "cats", 0, 5)
    fails(tmp_path, "only one class folder, cats")
    (tmp_path / "dogs").mkdir()
    fails(tmp_path, str(tmp_path / "dogs"), "holds no image", "but nothing")
    for number in range(3):
        (tmp_path / "dogs" / f"{number}.heic").write_bytes(b"x")
    fails(tmp_path, str(tmp_path / "dogs"), "but 3 .heic")


def test_too_few_images_to_test_with(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    save_photos(tmp_path / "cats", 0, 2)
    save_photos(tmp_path / "dogs", 1, 2)
    with pytest.raises(BadInput, match=r"data\.test_share=0\.2: 4 images in 2 classes leave none for testing"):
        splits(tmp_path)
    assert len(splits(tmp_path, test_share=0.5).test) == 2
