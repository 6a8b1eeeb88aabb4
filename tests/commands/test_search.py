"""Ranking a gallery by hand and by machine, and 'compress search' as a user starts it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.bundle.manifest import read_manifest
from compress.bundle.thresholds import match_distance
from compress.commands.search import query
from compress.contracts import BadInput, EmbeddingSpec, MissingTool
from compress.gallery.nearest import distances, nearest
from compress.gallery.store import GALLERY, Gallery
from tests._command import compress
from tests.conftest import Finished


def gallery(features: list[list[float]], spec: EmbeddingSpec) -> Gallery:
    meta = {"dim": spec.dim, "kind": spec.kind, "distance": spec.distance}
    names = tuple("abcdefgh"[: len(features)])
    return Gallery(meta, names, tuple(name.upper() for name in names), np.array(features, np.float32))


# --------------------------------------------------------------------------------------------------- the ranking


@pytest.mark.parametrize(
    ("spec", "features", "asked", "expected"),
    [
        (EmbeddingSpec(2), [[3, 4], [0, 0], [6, 8]], [0, 0], [("b", 0), ("a", 5), ("c", 10)]),
        (
            EmbeddingSpec(2, distance="cosine"),
            [[0, 2], [-1, 0], [3, 0], [1, 1]],
            [5, 0],
            [("c", 0), ("d", 1 - math.sqrt(0.5)), ("a", 1), ("b", 2)],
        ),
        (
            EmbeddingSpec(4, kind="binary", distance="hamming"),
            [[1, 1, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]],
            [0.9, 0.51, 0.5, 0.0],  # 1100
            [("c", 0), ("a", 2), ("b", 2)],
        ),
    ],
)
def test_rankings_worked_by_hand(
    spec: EmbeddingSpec, features: list[list[float]], asked: list[float], expected: list[tuple[str, float]]
) -> None:
    (found,) = nearest(gallery(features, spec), np.array([asked], np.float32), 9)
    assert [match.name for match in found] == [name for name, _ in expected]
    assert [match.label for match in found] == [name.upper() for name, _ in expected]
    assert [match.distance for match in found] == pytest.approx([distance for _, distance in expected], abs=1e-7)


def test_k_and_what_is_left_out() -> None:
    line = gallery([[0], [1], [2], [3]], EmbeddingSpec(1))
    queries = np.array([[0], [3]], np.float32)
    assert [[m.name for m in found] for found in nearest(line, queries, 2)] == [["a", "b"], ["d", "c"]]
    assert [[m.name for m in found] for found in nearest(line, queries, 2, ("a", "c"))] == [["b", "c"], ["d", "b"]]
    # A name that is not in the gallery leaves nothing out.
    assert [m.name for m in nearest(line, queries[:1], 9, ("z",))[0]] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_distances_agree_with_the_order_of_the_exact_ranking(distance: str) -> None:
    random = np.random.default_rng(0)
    spec = EmbeddingSpec(24, distance=distance)  # type: ignore[arg-type]
    features = random.normal(size=(300, 24)).astype(np.float32)
    many = replace(
        gallery([[0.0] * 24], spec), features=features, names=tuple(map(str, range(300))), labels=("",) * 300
    )
    for asked, found in zip(features[:5] + 0.1, nearest(many, features[:5] + 0.1, 300), strict=True):
        by_hand = distances(asked, features, spec.distance)
        assert [int(match.name) for match in found] == np.argsort(by_hand, kind="stable").tolist()


@pytest.mark.parametrize("broken", [np.full((1, 2), np.nan, np.float32), np.zeros((1, 3), np.float32)])
def test_what_cannot_be_ranked_is_said(broken: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"NaN|queries \[1, 3\]"):
        nearest(gallery([[0, 0]], EmbeddingSpec(2)), broken, 1)


# --------------------------------------------------------------------------------------------------- the command


def picture(finished: Finished, name: str) -> Path:
    return finished.recipe.parent / "photos" / name


def indexed(finished: Finished) -> str:
    """A photograph that lies in the bundle's gallery."""
    golden = json.loads((finished.folder / "golden/golden.json").read_text(encoding="utf-8"))
    return str(golden["images"][7]["source"])


def test_a_photograph_of_the_gallery_finds_itself_first_without_pytorch(finished: Finished) -> None:
    name = indexed(finished)
    ended = compress("search", finished.folder, picture(finished, name), "--top", "3", without=("torch", "coremltools"))
    assert ended.code == 0, ended.stderr
    head, *lines = ended.stdout.splitlines()
    assert head == "artifacts/tiny.fp32.tflite on litert, l2 distance, 60 gallery images"
    assert len(lines) == 3
    rank, distance, label = lines[0].split(maxsplit=2)
    assert (rank, label) == ("1", f"{name.partition('/')[0]}  {name}")
    assert float(distance) < 1e-3
    assert 1e-3 < float(lines[1].split()[1]) <= float(lines[2].split()[1])


def test_artifact_and_runtime_can_be_named(finished: Finished) -> None:
    name = indexed(finished)
    answer = query(finished.folder, picture(finished, name), top=100, artifact="tiny.fp32.tflite")
    assert (answer.artifact, answer.runtime) == ("artifacts/tiny.fp32.tflite", "litert")
    assert (len(answer.matches), answer.matches[0].name) == (60, name)
    answer = query(finished.folder, picture(finished, name), top=1, runtime="onnxruntime")
    assert (answer.artifact, answer.runtime) == ("artifacts/tiny.fp32.onnx", "onnxruntime")


def test_another_photograph_finds_another_image_first(finished: Finished) -> None:
    name = indexed(finished)
    other = next(path for path in picture(finished, "digit 0").iterdir() if path.name != Path(name).name)
    assert query(finished.folder, other, top=1).matches[0].name != name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top": 0}, "--top 0: give 1 or more"),
        ({"artifact": "tiny.fp32.tflit"}, "did you mean 'tiny.fp32.tflite'"),
        ({"runtime": "onnxruntim"}, "did you mean 'onnxruntime'"),
        ({"runtime": "onnxruntime", "artifact": "tiny.fp32.tflite"}, "--runtime onnxruntime: runs onnx, not tflite"),
    ],
)
def test_bad_options_are_one_line(finished: Finished, options: dict, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        query(finished.folder, picture(finished, indexed(finished)), **{"top": 3, **options})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ match or no match


def test_a_threshold_leaves_out_what_is_no_match(finished: Finished) -> None:
    name = indexed(finished)
    everything = query(finished.folder, picture(finished, name), top=60)
    (entry, *_) = [each for each in read_manifest(finished.folder).artifacts if each.path == everything.artifact]
    assert entry.thresholds is not None and entry.thresholds.at is not None
    limits = {each.name: each.distance for each in entry.thresholds.at}
    assert limits["1%"] is not None and limits["0.01%"] is None  # 60 held-out images have 1,620 pairs
    found = query(finished.folder, picture(finished, name), top=60, threshold="1%")
    assert found.threshold == limits["1%"]
    assert found.matches == tuple(each for each in everything.matches if each.distance <= limits["1%"])
    assert 1 <= len(found.matches) < 60
    middle = everything.matches[30].distance
    assert len(query(finished.folder, picture(finished, name), top=60, threshold=str(middle)).matches) == 31


def test_no_match_is_said_with_the_nearest_image(finished: Finished) -> None:
    name = indexed(finished)
    other = next(path for path in picture(finished, "digit 0").iterdir() if path.name != Path(name).name)
    ended = compress("search", finished.folder, other, "--threshold", "1e-9", without=("torch",))
    assert ended.code == 0, ended.stderr
    assert ended.stdout.splitlines()[1].startswith("no match: the nearest image, digit")
    assert ended.stdout.endswith("beyond the threshold 1e-09\n")


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        ("near", "--threshold near: give a false-accept rate (1%) or a distance"),
        ("-1", "give a false-accept rate"),
        ("nan", "give a false-accept rate"),
        ("2%", "has thresholds for 1%; take one of them, or give a distance"),
        ("0.01%", "too few held-out pairs for this rate; take 1%, or test with more images"),
    ],
)
def test_thresholds_that_mean_nothing_are_one_line(finished: Finished, threshold: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        query(finished.folder, picture(finished, indexed(finished)), top=3, threshold=threshold)
    assert words in str(caught.value)


def test_an_older_bundle_has_no_thresholds(finished: Finished) -> None:
    entry = read_manifest(finished.folder).artifacts[0]
    older = entry.model_copy(update={"thresholds": None})
    assert match_distance("0.3", older, "torchscript") == 0.3
    with pytest.raises(BadInput, match="an older version made it; give a distance"):
        match_distance("1%", older, "torchscript")


def test_what_is_no_image_is_exit_2(finished: Finished, tmp_path: Path) -> None:
    ended = compress("search", finished.folder, finished.recipe)
    assert (ended.code, ended.complaint) == (2, f"{finished.recipe}: cannot be searched with: not an image")
    for path in (tmp_path, tmp_path / "nowhere.jpg"):
        with pytest.raises(BadInput, match="cannot be searched with"):
            query(finished.folder, path, top=1)


def test_a_bundle_without_gallery_or_with_that_of_another_model_is_refused(finished: Finished, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(finished.folder, bundle, ignore=shutil.ignore_patterns(".compress"))
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["embedding"]["space_id"] = "another"
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BadInput, match=r"gallery\.sqlite: made in the embedding space .* the bundle's is another"):
        query(bundle, picture(finished, indexed(finished)), top=1)
    (bundle / GALLERY).unlink()
    with pytest.raises(BadInput, match="there is no such gallery"):
        query(bundle, picture(finished, indexed(finished)), top=1)


def test_a_missing_runtime_is_exit_3(finished: Finished) -> None:
    photo = picture(finished, indexed(finished))
    ended = compress("search", finished.folder, photo, "--runtime", "onnxruntime", without=("torch", "onnxruntime"))
    assert ended.code == 3
    assert "is not installed" in ended.complaint
    with pytest.raises(MissingTool, match="tensorflow"):
        query(finished.folder, photo, top=1, runtime="tensorflow_lite")


def test_size_and_mode_of_the_photograph_do_not_matter(finished: Finished, tmp_path: Path) -> None:
    name = indexed(finished)
    with Image.open(picture(finished, name)) as photo:
        photo.convert("RGBA").resize((640, 480), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
    assert query(finished.folder, tmp_path / "large.png", top=1).matches[0].name == name
