from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.datasets.sun397 import Sun397

CLASSES = ("abbey", "apartment_building/outdoor", "balcony/exterior", "balcony/interior")


@pytest.fixture
def sun(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    """10 pictures of each class, two of which are copies of others, one under another class."""
    root = tmp_path / "SUN397"
    for label, name in enumerate(CLASSES):
        save_photos(root / name[0] / name, label, 10, name="sun_{:06d}.jpg")
    shutil.copy(root / "a/abbey/sun_000000.jpg", root / "a/abbey/sun_999999.jpg")
    shutil.copy(root / "a/abbey/sun_000001.jpg", root / "b/balcony/interior/sun_999999.jpg")
    (root / "ClassName.txt").write_text("/a/abbey\n")
    return tmp_path


def test_classes_are_paths_below_the_letter_from_either_root(sun: Path) -> None:
    splits = Sun397(root=str(sun)).splits(seed=0)
    assert splits.classes == CLASSES
    inside = Sun397(root=str(sun / "SUN397")).splits(seed=0)
    assert inside.train.ids == splits.train.ids
    for samples in (splits.train, splits.test):
        assert len(samples)
        for image_id, label in zip(samples.ids, samples.labels, strict=True):
            letter, _, rest = image_id.partition("/")
            assert rest.rpartition("/")[0] == CLASSES[label]
            assert letter == CLASSES[label][0]


def test_copies_are_dropped_and_the_rest_split_eight_to_two(sun: Path) -> None:
    splits = Sun397(root=str(sun)).splits(seed=0)
    assert splits.duplicates == 2
    assert (len(splits.train), len(splits.test)) == (32, 8)
    everything = {*splits.train.ids, *splits.test.ids}
    assert len(everything) == 40
    assert not any("999999" in image_id for image_id in everything)
    assert splits.test.ids == Sun397(root=str(sun)).splits(seed=0).test.ids
    assert splits.test.ids != Sun397(root=str(sun)).splits(seed=1).test.ids


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"SUN397\.tar\.gz") as caught:
        Sun397(root=str(tmp_path)).splits(seed=0)
    assert str(tmp_path / "SUN397" / "a") in str(caught.value)


def test_images_outside_a_class_are_named(sun: Path, save_photos: Callable[..., list[Path]]) -> None:
    stray = save_photos(sun / "SUN397" / "a", 0, 1)[0]
    with pytest.raises(BadInput, match="is in no class folder") as caught:
        Sun397(root=str(sun)).splits(seed=0)
    assert str(stray) in str(caught.value)
