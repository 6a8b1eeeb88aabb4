"""rankings.json: the first ten against a plain sort, and the pictures of the queries."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.bundle.manifest import read_manifest
from compress.bundle.rankings import (
    RANKINGS,
    IndexedImages,
    MeasuredQueries,
    RankedModel,
    Rankings,
    UnrankedModel,
    read_rankings,
)
from compress.contracts import GalleryOptions, HeldOut, ImageSet, Observation
from compress.gallery.store import GALLERY, read_gallery
from tests import _pooled
from tests.conftest import Finished


def ranked(ranker: Rankings, observation: Observation) -> RankedModel:
    found = ranker.of(observation, "pytorch", None)
    assert isinstance(found, RankedModel)
    return found


@pytest.mark.parametrize("leave_one_out", [True, False])
@pytest.mark.parametrize("max_images", [2000, 25])
def test_the_first_ten_are_those_of_a_plain_sort(
    tmp_path: Path, digit_images: np.ndarray, leave_one_out: bool, max_images: int
) -> None:
    gallery = _pooled.images(digit_images, 5)
    queries = gallery if leave_one_out else _pooled.images(digit_images, 4, first=10)
    index = _pooled.write(tmp_path / "g.sqlite", gallery, options=GalleryOptions(max_images=max_images))
    held_out = HeldOut(queries, gallery, np.asarray(queries.images[:2]))
    ranker = Rankings(held_out, index, _pooled.CLASSES, _pooled.FLOAT)
    # An artifact of its own, so that the index's own features would give another answer.
    given = _pooled.embed(queries)[:, ::-1] * 2 + 1, _pooled.embed(gallery)[:, ::-1] * 2 + 1
    found = ranked(ranker, Observation(given[0], given[0] if leave_one_out else given[1], given[0][:2]))
    about = ranker.file(32, (found,))
    assert about.models == (found,)
    assert about.gallery == IndexedImages(images=min(50, max_images), of=50)
    assert about.measured == MeasuredQueries(queries=len(queries), of=len(queries))
    assert len(found.top) == len(about.queries) > 20
    rows = [gallery.ids.index(name) for name in index.names]
    for asked, top in zip(about.queries, found.top, strict=True):
        query = queries.ids.index(asked.name)
        assert asked.label == queries.labels[query]
        distance = ((given[1][rows].astype(np.float64) - given[0][query]) ** 2).sum(axis=1)
        order = [n for n in np.argsort(distance, kind="stable") if not (leave_one_out and rows[n] == query)]
        np.testing.assert_allclose(distance[list(top)], distance[order[:10]])
        assert len(set(top)) == 10
        if leave_one_out:
            assert asked.name not in [index.names[n] for n in top]
        picture = Image.open(io.BytesIO(base64.b64decode(asked.picture)))
        assert np.abs(np.asarray(picture, np.int64) - queries.images[query]).mean() < 8


def test_each_class_has_its_own_average_precision(tmp_path: Path, digit_images: np.ndarray) -> None:
    images = _pooled.images(digit_images, 3)
    labels = images.labels.copy()
    labels[labels == 9] = 8
    labels[0] = 9  # the only one of its class
    images = ImageSet(images.images, labels, images.ids)
    features = np.eye(30, dtype=np.float32)[:, :3].repeat(17, axis=1)[:, :49]
    features[labels == 3] = 5  # found first by each other
    index = _pooled.write(tmp_path / "g.sqlite", images)
    ranker = Rankings(HeldOut(images, images, features), index, (*_pooled.CLASSES, "empty"), _pooled.FLOAT)
    found = ranked(ranker, Observation(features, features, features)).class_ap
    assert len(found) == 11
    assert found[3] == 1
    assert found[9] is None
    assert found[10] is None
    assert all(value is not None and value < 1 for number, value in enumerate(found) if number not in (3, 9, 10))


def test_what_cannot_be_ranked_says_why(tmp_path: Path, digit_images: np.ndarray) -> None:
    images = _pooled.images(digit_images, 2)
    index = _pooled.write(tmp_path / "g.sqlite", images)
    broken = np.full((20, 49), np.nan, np.float32)
    ranker = Rankings(HeldOut(images, images, broken), index, _pooled.CLASSES, _pooled.FLOAT)
    found = ranker.of(Observation(broken, broken, broken), "artifacts/broken.onnx", "onnxruntime")
    assert isinstance(found, UnrankedModel)
    assert (found.path, found.runtime) == ("artifacts/broken.onnx", "onnxruntime")
    assert "NaN" in found.problem


def test_a_run_leaves_the_rankings_of_all_it_executed(finished: Finished) -> None:
    manifest = read_manifest(finished.folder)
    content = read_rankings(finished.folder / RANKINGS)
    assert content.to_json() == json.loads((finished.folder / RANKINGS).read_text(encoding="utf-8"))
    assert RANKINGS in manifest.files
    models = [(model.path, model.runtime) for model in content.models]
    assert models == [("pytorch", None), *((a.path, a.runtime) for a in manifest.artifacts)]
    pytorch = content.models[0]
    assert isinstance(pytorch, RankedModel)
    # All queries were measured, and the classes are of one size: the mean over the classes is the mAP of the manifest.
    assert content.measured.queries == content.measured.of
    assert np.mean(pytorch.class_ap) == pytest.approx(manifest.source.mAP, abs=1e-5)
    names = read_gallery(finished.folder / GALLERY).names
    assert all(names[n] != query.name for query, top in zip(content.queries, pytorch.top, strict=True) for n in top)
