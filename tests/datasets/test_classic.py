"""The classic Oxford and Paris protocols on small trees of the published shape, and their compute_ap in plain loops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.contracts import BadInput, Dataset, EmbeddingSpec, HeldOut, Observation, PublishedImage
from compress.data.load import load_data
from compress.datasets.classic_oxford5k import ClassicOxford5k
from compress.datasets.classic_paris6k import ClassicParis6k
from validators.checks.retrieval_map import RetrievalMap

SHAPES = {
    "classic_oxford5k": (ClassicOxford5k, "oxbuild_images", "{}_{:06d}", "oxc1_", "gt_files_170407"),
    "classic_paris6k": (ClassicParis6k, "paris/{}", "paris_{}_{:06d}", "", "paris_120310"),
}


@pytest.fixture(params=SHAPES)
def tree(request: pytest.FixtureRequest, tmp_path: Path, photo: Callable[..., Image.Image]) -> tuple[Dataset, Path]:
    """Two queries and 12 images: of the first query 0 (its own) and 1 are good, 2 is ok, 3 and 4 are junk."""
    kind, images, pattern, prefix, truth = SHAPES[request.param]
    for label, landmark in enumerate(("ashmolean", "defense")):
        folder = tmp_path / images.format(landmark)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(6):
            photo(label, number).save(folder / f"{pattern.format(landmark, number)}.jpg", quality=95)
    (tmp_path / truth).mkdir()
    for landmark in ("ashmolean", "defense"):
        names = [pattern.format(landmark, number) for number in range(6)]
        lists = {"good": names[:2], "ok": names[2:3], "junk": names[3:5]}
        for part, listed in lists.items():
            text = "".join(f"{name}\n" for name in listed)
            (tmp_path / truth / f"{landmark}_1_{part}.txt").write_text(text, encoding="utf-8")
        query = f"{prefix}{names[0]} 10.5 4.0 50.25 44.0\n"
        (tmp_path / truth / f"{landmark}_1_query.txt").write_text(query, encoding="utf-8")
    return kind(root=str(tmp_path), image_size=32), tmp_path / truth


def compute_ap(ranking: Sequence[int], good: Collection[int], junk: Collection[int]) -> float:
    """The authors' compute_ap.cpp, line by line."""
    old_recall, old_precision, ap, hits, seen = 0.0, 1.0, 0.0, 0, 0
    for item in ranking:
        if item in junk:
            continue
        hits += item in good
        recall, precision = hits / len(good), hits / (seen + 1)
        ap += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision, seen = recall, precision, seen + 1
    return ap


def test_queries_boxes_and_lists_are_the_published_ones(tree: tuple[Dataset, Path]) -> None:
    dataset, truth_folder = tree
    splits = dataset.splits(seed=0)
    assert splits.gallery is not None
    assert (len(splits.train), len(splits.test), len(splits.gallery)) == (0, 2, 12)
    assert splits.classes == ("ashmolean", "defense")
    assert splits.test.ids == ("queries/ashmolean_1", "queries/defense_1")
    query = splits.test.images[0]
    assert isinstance(query, PublishedImage) and query.box == (10.5, 4.0, 50.25, 44.0)
    (truth,) = splits.ground_truths.values()
    assert [rows.tolist() for rows in truth.relevant] == [[0, 1, 2], [6, 7, 8]]  # the query's own photograph counts
    assert [rows.tolist() for rows in truth.junk] == [[3, 4], [9, 10]]
    data = load_data(dataset, seed=0, cache_dir=truth_folder / "cache")
    assert data.queries.images[:1].shape == (1, 32, 32, 3)
    assert [rows.tolist() for rows in data.ground_truths["classic"].relevant] == [[0, 1, 2], [6, 7, 8]]


def test_map_is_that_of_the_authors_program(tree: tuple[Dataset, Path]) -> None:
    """And junk that stays in the ranking, or the step form, would give another number."""
    data = load_data(tree[0], seed=0, cache_dir=tree[1] / "cache")
    truth = data.ground_truths["classic"]
    features = np.random.default_rng(3).normal(size=(14, 8)).astype(np.float32)
    held_out = HeldOut(data.queries, data.gallery, data.queries.images[:], data.ground_truths)
    scores = RetrievalMap(metrics=()).measure(
        Observation(features[:2], features[2:], features[:2]), held_out, EmbeddingSpec(8)
    )
    rankings = [np.argsort(((features[2:] - query) ** 2).sum(1)) for query in features[:2]]
    lists = [(set(good.tolist()), set(junk.tolist())) for good, junk in zip(truth.relevant, truth.junk, strict=True)]
    own, kept = (
        np.mean(
            [
                compute_ap(ranking, good, junk if removed else ())
                for ranking, (good, junk) in zip(rankings, lists, strict=True)
            ]
        )
        for removed in (True, False)
    )
    assert scores.mAP == pytest.approx(own, abs=1e-6)
    assert scores.mAP != pytest.approx(kept, abs=1e-3)
    assert scores.rules["average precision"].startswith("mean of the precision at each hit and one rank earlier")


def test_what_is_wrong_is_named(tree: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, folder = tree
    query = folder / "defense_1_query.txt"
    text = query.read_text(encoding="utf-8")
    for broken in ("defense_000000 1 2 3\n", "defense_000000 5 2 5 9\n", "defense_000000 a b c d\n", ""):
        query.write_text(broken, encoding="utf-8")
        with pytest.raises(BadInput, match=r"defense_1_query.txt: is not 'IMAGE LEFT TOP RIGHT BOTTOM'"):
            dataset.splits(seed=0)
    query.write_text(text, encoding="utf-8")
    (folder / "defense_1_ok.txt").write_text("nowhere_000001\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"1 of its images are not below .* such as nowhere_000001; unpack"):
        dataset.splits(seed=0)
    (folder / "defense_1_ok.txt").unlink()
    with pytest.raises(BadInput, match=r"defense_1_ok\.txt: is missing beside defense_1_query.txt"):
        dataset.splits(seed=0)
    for path in folder.glob("*.txt"):
        path.unlink()
    with pytest.raises(BadInput, match=r"was not found; looked in .*; unpack"):
        dataset.splits(seed=0)
