"""Golden images must find in the bundle's index what the PyTorch model finds; wrong indexes and artifacts are seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.bundle.golden import Golden, make_golden, read_golden, write_golden
from compress.bundle.manifest import EmbeddingEntry
from compress.bundle.neighbours import gallery_problems, neighbour_overlap
from compress.contracts import BadInput, EmbeddingSpec
from compress.gallery.store import Gallery
from tests import _pooled


def described(spec: EmbeddingSpec) -> EmbeddingEntry:
    return EmbeddingEntry(space_id="0123", dim=spec.dim, kind=spec.kind, distance=spec.distance)


@pytest.fixture(params=["float", "binary"])
def pack(request: pytest.FixtureRequest, tmp_path: Path, digit_images: np.ndarray) -> tuple[Golden, Gallery]:
    """Twenty golden images of a gallery of 300, leave-one-out."""
    spec = _pooled.FLOAT if request.param == "float" else _pooled.BINARY
    pictures = _pooled.images(digit_images, 30)
    gallery = _pooled.write(tmp_path / "g.sqlite", pictures, spec)
    rows = np.arange(0, 300, 15)
    embeddings = _pooled.embed(pictures)[rows]
    sources = [pictures.ids[row] for row in rows]
    return make_golden(pictures.images[rows], pictures.labels[rows], sources, embeddings, gallery, True), gallery


def index_of(pack: tuple[Golden, Gallery]) -> list[str]:
    golden, gallery = pack
    return gallery_problems(golden, gallery, described(gallery.embedding))


def test_the_right_index_has_no_problem_and_neighbours_never_include_the_image(pack: tuple[Golden, Gallery]) -> None:
    golden, gallery = pack
    assert index_of(pack) == []
    for source, matches in zip(golden.sources, golden.neighbours, strict=True):
        assert len(matches) == 10
        assert source not in [match.name for match in matches]
    assert neighbour_overlap(golden, gallery, golden.embeddings).golden_neighbours == 1


def test_neighbours_are_those_of_a_sort_by_hand(pack: tuple[Golden, Gallery]) -> None:
    golden, gallery = pack
    binary = gallery.embedding.kind == "binary"
    for number, query in enumerate(golden.embeddings):
        ranked = []
        for row, feature in enumerate(gallery.features):
            if binary:
                distance = float(sum((q > 0.5) != (f > 0.5) for q, f in zip(query, feature, strict=True)))
            else:
                distance = math.sqrt(sum((float(q) - float(f)) ** 2 for q, f in zip(query, feature, strict=True)))
            if gallery.names[row] != golden.sources[number]:
                ranked.append((distance, row))
        ranked.sort()
        assert [match.name for match in golden.neighbours[number]] == [gallery.names[row] for _, row in ranked[:10]]
        expected = [distance for distance, _ in ranked[:10]]
        assert [match.distance for match in golden.neighbours[number]] == pytest.approx(expected, rel=1e-5)


def test_two_exchanged_features_are_found_out(pack: tuple[Golden, Gallery]) -> None:
    golden, gallery = pack
    near, far = gallery.names.index(golden.neighbours[3][0].name), gallery.names.index(golden.sources[-1])
    features = gallery.features.copy()
    features[[near, far]] = features[[far, near]]
    (problem,) = index_of((golden, _pooled.with_features(gallery, features)))
    assert "other neighbours" in problem
    assert "gallery/gallery.sqlite" in problem


def test_codes_packed_in_the_other_order_are_found_out(tmp_path: Path, digit_images: np.ndarray) -> None:
    pictures = _pooled.images(digit_images, 30)
    gallery = _pooled.write(tmp_path / "g.sqlite", pictures, _pooled.BINARY)
    golden = make_golden(
        pictures.images[:20], pictures.labels[:20], pictures.ids[:20], _pooled.embed(pictures)[:20], gallery, True
    )
    wrong = np.packbits(gallery.features > 0.5, axis=1, bitorder="little")
    reread = np.unpackbits(wrong, axis=1, bitorder="big")[:, :49].astype(np.float32)
    (problem,) = index_of((golden, _pooled.with_features(gallery, reread)))
    assert "other neighbours" in problem

    folder = tmp_path / "golden"
    write_golden(folder, golden, _pooled.CLASSES, gallery, "MIT")
    assert read_golden(folder).neighbours == golden.neighbours
    content = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    first = content["images"][0]
    assert bytes.fromhex(first["code"]) == np.packbits(golden.embeddings[0] > 0.5).tobytes()
    first["code"] = np.packbits(golden.embeddings[0] > 0.5, bitorder="little").tobytes().hex()
    (folder / "golden.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadInput, match=r"golden\.json: .*code of images/000\.png"):
        read_golden(folder)
    first["neighbours"][0]["distance"] = "near"
    (folder / "golden.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BadInput, match=r"golden\.json: .*could not convert string to float"):
        read_golden(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("space_id", "another"), ("dim", 50), ("kind", "local"), ("distance", "cosine")]
)
def test_an_index_of_another_space_is_named(pack: tuple[Golden, Gallery], key: str, value: Any) -> None:
    golden, gallery = pack
    other = described(gallery.embedding).model_copy(update={key: value})
    (problem,) = gallery_problems(golden, gallery, other)
    assert f"its {key} is" in problem


def test_a_broken_artifact_finds_other_images(pack: tuple[Golden, Gallery]) -> None:
    golden, gallery = pack

    def overlap(embeddings: np.ndarray) -> Any:
        return neighbour_overlap(golden, gallery, embeddings).golden_neighbours

    right = golden.embeddings
    assert overlap(np.roll(right, 1, axis=0)) < 0.6
    assert overlap(np.repeat(right[:1], len(right), axis=0)) < 0.4
    assert overlap(1 - right) < 0.1
    for unusable in (np.full_like(right, np.nan), right[:, :-1]):
        assert overlap(unusable) is None


def test_equally_distant_images_count_as_right(tmp_path: Path, digit_images: np.ndarray) -> None:
    """One bit flipped in all images alike moves ties about by name, and costs nothing where distances stay."""
    pictures = _pooled.images(digit_images, 30)
    gallery = _pooled.write(tmp_path / "g.sqlite", pictures, _pooled.BINARY)
    golden = make_golden(
        pictures.images[:20], pictures.labels[:20], pictures.ids[:20], _pooled.embed(pictures)[:20], gallery, True
    )
    order = np.arange(300)[::-1]
    backwards = Gallery(
        gallery.meta,
        tuple(gallery.names[row] for row in order),
        tuple(gallery.labels[row] for row in order),
        gallery.features[order],
    )
    again = make_golden(golden.images, golden.labels, golden.sources, golden.embeddings, backwards, True)
    assert again.neighbours != golden.neighbours
    assert index_of((golden, backwards)) == []
    assert neighbour_overlap(golden, backwards, golden.embeddings).golden_neighbours == 1


def test_a_gallery_smaller_than_ten_gives_what_it_has(tmp_path: Path, digit_images: np.ndarray) -> None:
    pictures = _pooled.images(digit_images[:, :1], 1)
    small = type(pictures)(pictures.images[:4], pictures.labels[:4], pictures.ids[:4])
    gallery = _pooled.write(tmp_path / "g.sqlite", small)
    golden = make_golden(np.asarray(small.images), small.labels, small.ids, _pooled.embed(small), gallery, True)
    assert [len(matches) for matches in golden.neighbours] == [3, 3, 3, 3]
    assert index_of((golden, gallery)) == []
