"""retrieval-SfM's clusters and pairs, read from a small tree of the published shape."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.contracts import BadInput, TrainingPairs
from compress.data.load import load_data
from compress.datasets._other_landmarks import other_landmarks
from compress.datasets.roxford5k import Roxford5k

NAMES = [f"{number:032x}" for number in range(0xABC001, 0xABC001 + 24)]
PARTS: dict[str, Any] = {
    "cids": NAMES,
    "cluster": [number // 4 for number in range(24)],
    "qidxs": [0, 4, 8, 12, 16, 20, 1],
    "pidxs": [1, 5, 10, 15, 17, 21, 3],
}


@pytest.fixture
def tree(tmp_path: Path, photo: Callable[..., Image.Image]) -> Path:
    """ROxford with one query, and 24 images of six clusters to train on, in ``sfm``."""
    jpg = tmp_path / "roxford5k" / "jpg"
    jpg.mkdir(parents=True)
    for number in range(3):
        photo(0, number).save(jpg / f"keble_{number:06d}.jpg")
    listed = [{"bbx": [0, 0, 60, 44], "easy": [0], "hard": [1], "junk": []}]
    content = {"imlist": ["keble_000001", "keble_000002"], "qimlist": ["keble_000000"], "gnd": listed}
    (tmp_path / "roxford5k" / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(content, protocol=2))
    for number, name in enumerate(NAMES):
        folder = tmp_path / "sfm/ims" / name[-2:] / name[-4:-2] / name[-6:-4]
        folder.mkdir(parents=True, exist_ok=True)
        photo(1 + number // 4, number).save(folder / name, format="JPEG")
    write(tmp_path / "sfm", PARTS)
    return tmp_path


def write(folder: Path, parts: dict[str, Any]) -> None:
    content = {"train": parts, "val": {"cids": [], "cluster": [], "qidxs": [], "pidxs": [], "qpool": []}}
    (folder / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps(content, protocol=2))


def test_clusters_and_pairs_come_from_the_file(tree: Path) -> None:
    splits = Roxford5k(root=str(tree), train=str(tree / "sfm")).splits(seed=0)
    assert len(splits.train) == 24
    assert splits.classes[:2] == ("cluster 0000", "cluster 0001") and splits.classes[-1] == "keble"
    assert splits.train.labels.tolist() == PARTS["cluster"]
    assert splits.train.ids[0] == "train/ims/01/c0/ab/" + NAMES[0]
    assert splits.pairs is not None
    assert splits.pairs.queries.tolist() == PARTS["qidxs"] and splits.pairs.positives.tolist() == PARTS["pidxs"]


def test_pairs_follow_the_images_that_train(tree: Path) -> None:
    """Whole clusters are held out and one image cannot be read: the rest of the pairs name the same two images."""
    names = [f"train/ims/{name[-2:]}/{name[-4:-2]}/{name[-6:-4]}/{name}" for name in NAMES]
    (tree / "sfm" / names[8].removeprefix("train/")).write_bytes(b"no image")
    dataset = Roxford5k(
        root=str(tree), image_size=16, train=str(tree / "sfm"), validation_share=0.3, max_skipped_share=0.2
    )
    data = load_data(dataset, seed=0, cache_dir=tree / "cache")
    assert data.open_set and data.pairs is not None
    trained = set(data.train.labels.tolist())
    assert not trained & set(data.validation.labels.tolist())
    found = {
        (data.train.ids[one], data.train.ids[other])
        for one, other in zip(data.pairs.queries, data.pairs.positives, strict=True)
    }
    clusters = PARTS["cluster"]
    assert found == {
        (names[one], names[other])
        for one, other in zip(PARTS["qidxs"], PARTS["pidxs"], strict=True)
        if clusters[one] in trained and 8 not in (one, other)
    }
    assert 0 < len(found) < 7
    write(tree / "sfm", {**PARTS, "qidxs": PARTS["pidxs"], "pidxs": PARTS["qidxs"]})
    assert load_data(dataset, seed=0, cache_dir=tree / "cache").fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"qidxs": [0, 4, 8, 12, 16, 20, 24]}, "numbers outside 0 to 23"),
        ({"pidxs": [1]}, "lists of different or no length"),
        ({"pidxs": [1, 5, 10, 15, 17, 21, 4]}, "a pair of two clusters"),
        ({"cids": ["../../etc/passwd", *NAMES[1:]]}, "names that are not those of images"),
        ({"cluster": [0]}, "lists of different or no length"),
    ],
)
def test_other_files_are_refused(tree: Path, changes: dict[str, Any], words: str) -> None:
    write(tree / "sfm", {**PARTS, **changes})
    with pytest.raises(BadInput, match=rf"retrieval-SfM-120k\.pkl: not the clusters and pairs .*{words}"):
        other_landmarks(str(tree / "sfm"))


def test_moved_pairs_lose_those_without_both_images() -> None:
    pairs = TrainingPairs(np.array([0, 2, 3]), np.array([1, 1, 0]))
    moved = pairs.moved(np.array([5, -1, 7, 6]))
    assert (moved.queries.tolist(), moved.positives.tolist(), len(moved)) == ([6], [5], 1)
    assert other_landmarks(None).names == () and other_landmarks(None).pairs is None
