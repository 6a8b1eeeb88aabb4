from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.datasets.oxbuild5k import Oxbuild5k
from compress.datasets.paris6k import Paris6k

OXFORD = (
    "all_souls",
    "ashmolean",
    "balliol",
    "bodleian",
    "christ_church",
    "cornmarket",
    "hertford",
    "jesus",
    "keble",
    "magdalen",
    "new",
    "oriel",
    "oxford",
    "pitt_rivers",
    "radcliffe_camera",
    "trinity",
    "worcester",
)
PARIS = (
    "defense",
    "eiffel",
    "general",
    "invalides",
    "louvre",
    "moulinrouge",
    "museedorsay",
    "notredame",
    "pantheon",
    "pompidou",
    "sacrecoeur",
    "triomphe",
)


def test_oxford_has_its_seventeen_prefixes(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    folder = tmp_path / "oxbuild_images"
    for label, name in enumerate(OXFORD):
        save_photos(folder, label, 3, name=name + "_{:06d}.jpg")
    for root in (tmp_path, folder):
        splits = Oxbuild5k(root=str(root)).splits(seed=0)
        assert splits.classes == OXFORD
        assert (len(splits.train), len(splits.test)) == (41, 10)
        for samples in (splits.train, splits.test):
            assert all(name[:-11] == OXFORD[label] for name, label in zip(samples.ids, samples.labels, strict=True))
    assert splits.test.ids != Oxbuild5k(root=str(tmp_path)).splits(seed=1).test.ids


def test_paris_has_its_twelve_in_folders_of_their_own(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label, name in enumerate(PARIS):
        save_photos(tmp_path / "paris" / name, label, 5, name=f"paris_{name}" + "_{:06d}.jpg")
    splits = Paris6k(root=str(tmp_path)).splits(seed=0)
    assert splits.classes == PARIS
    assert (len(splits.train), len(splits.test)) == (48, 12)
    assert all(PARIS[label] in image_id for image_id, label in zip(splits.train.ids, splits.train.labels, strict=True))


def test_missing_misnamed_and_single(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    with pytest.raises(BadInput, match=r"oxbuild_images\.tgz") as caught:
        Oxbuild5k(root=str(tmp_path / "nowhere")).splits(seed=0)
    assert str(tmp_path / "nowhere") in str(caught.value)
    save_photos(tmp_path, 0, 2, name="jesus_{:06d}.jpg")
    with pytest.raises(BadInput, match="only photographs of 'jesus'"):
        Oxbuild5k(root=str(tmp_path)).splits(seed=0)
    with pytest.raises(BadInput, match=r"jesus_000000\.jpg is not named LANDMARK_NNNNNN; is this paris6k"):
        Paris6k(root=str(tmp_path)).splits(seed=0)
