"""Nearly equal photographs: groups by hand, every pair in plain loops, and real pictures compressed once more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.catalogue import near_duplicates
from compress.catalogue.near_duplicates import similar_groups
from compress.commands.index import index
from compress.contracts import BadInput, Distance
from compress.gallery.nearest import distances
from compress.gallery.store import Gallery
from tests.conftest import Finished

ARTIFACT = "tiny.fp32.onnx"


def gallery(features: np.ndarray, distance: Distance = "l2") -> Gallery:
    kind = "binary" if distance == "hamming" else "float"
    names = tuple(f"{number:03d}" for number in range(len(features)))
    meta = {"dim": features.shape[1], "kind": kind, "distance": distance}
    return Gallery(meta, names, ("",) * len(names), features.astype(np.float32))


def test_groups_by_hand() -> None:
    line = gallery(np.array([[0.0], [5.0], [0.9], [1.8], [9.0], [9.0], [5.0]]))
    # 0 - 0.9 - 1.8 is a chain; the copies at 5 and at 9 are equal, and reported elsewhere.
    assert similar_groups(line, 1.0) == (("000", "002", "003"),)
    assert similar_groups(line, 0.5) == ()
    assert similar_groups(line, 3.25) == (("000", "001", "002", "003", "006"),)
    assert similar_groups(line, 4.0) == (("000", "001", "002", "003", "004", "005", "006"),)


@pytest.mark.parametrize("distance", ["l2", "cosine", "hamming"])
def test_every_pair_is_found_whatever_the_block(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((90, 6))
    rows = (rows > 0).astype(float) if distance == "hamming" else rows
    given = gallery(rows, distance)
    limit = {"l2": 0.9, "cosine": 0.06, "hamming": 1.0}[distance]
    pairs = {
        (one, other)
        for one in range(90)
        for other in range(one + 1, 90)
        if distances(given.features[one], given.features[other : other + 1], distance)[0] <= limit
    }
    groups: list[set[int]] = []
    for pair in pairs:
        touched = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in touched] + [set(pair).union(*touched)]
    expected = sorted(
        tuple(f"{row:03d}" for row in sorted(group))
        for group in groups
        if len({given.features[row].tobytes() for row in group}) > 1
    )
    for block in (1, 1000, 2**23):
        monkeypatch.setattr(near_duplicates, "_BLOCK_ITEMS", block)
        assert list(similar_groups(given, limit)) == expected
    assert expected


def test_a_picture_that_was_compressed_again_is_listed(
    finished: Finished, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    for label in range(3):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 4)
    with Image.open(tmp_path / "photos/digit 1/000002.jpg") as image:
        image.save(tmp_path / "photos/again.jpg", quality=90)
    places, file = [tmp_path / "photos"], tmp_path / "own.sqlite"
    _, update, _ = index(finished.folder, places, file, artifact=ARTIFACT, workers=1, similar="0.2")
    assert update.similar == (("again.jpg", "digit 1/000002.jpg"),)
    assert (update.same_file, update.same_embedding) == ((), ())
    with pytest.raises(BadInput, match=r"--similar 3%: .* has thresholds for 1%"):
        index(finished.folder, places, file, artifact=ARTIFACT, workers=1, similar="3%")
