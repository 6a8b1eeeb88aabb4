"""Every index against comparing one by one: ties, copies, one image, k beyond the list; bytes, damage, options."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from compress import plugins
from compress.contracts import BadInput, Distance, Index, MissingTool
from compress.gallery.recall import recall
from compress.indexes.binary_flat import BinaryFlat
from compress.indexes.flat import Flat
from compress.indexes.hnsw import Hnsw
from compress.indexes.ivf import Ivf
from compress.indexes.lsh import Lsh
from compress.indexes.usearch import Usearch
from compress.indexes.usearch_i8 import UsearchI8
from compress.recipe.reader import load_recipe
from compress.recipe.schema import json_schema
from compress.run.plan import plan
from tests._command import REPOSITORY, compress
from tests._components import every, made_up
from tests.indexes._galleries import brute_force, distance_of, features

# With options that let each find everything in a small gallery.
THOROUGH: tuple[Index, ...] = (
    Flat(),
    BinaryFlat(),
    Ivf(nlist=4, nprobe=4),
    Hnsw(ef_search=512),
    Lsh(tables=64, bits=1),
    Usearch(ef_search=512),
    UsearchI8(ef_search=512),
)
PAIRS = [(index, distance) for index in THOROUGH for distance in type(index).distances]
RECIPE = """
name: tiny
data: {dataset: digits}
model: {architecture: alnet, stem_stride: 2}
train: {epochs: 1}
export: [onnx: {}]
"""


def identity(value: object) -> str | None:
    return value.component_name() if isinstance(value, Index) else None


def test_every_index_is_tested_here() -> None:
    assert {type(index) for index in THOROUGH} == set(every(Index))


def test_an_index_that_is_not_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Untested(Flat):
        pass

    made_up(monkeypatch, Index, Untested)
    assert set(every(Index)) - {type(index) for index in THOROUGH} == {Untested}


@pytest.mark.parametrize(("index", "distance"), PAIRS, ids=identity)
def test_it_finds_what_comparing_one_by_one_finds(index: Index, distance: Distance, tmp_path: Path) -> None:
    rows, path = features(distance), tmp_path / index.file
    index.build(path, rows, distance, seed=0)
    opened = index.open(path, rows, distance)
    queries = np.concatenate([features(distance, 20, seed=1), rows[:20]])
    queries[5] = rows[7]  # found twice, among them; and one query is the zero vector
    for k in (1, 10, 300):
        distances, ids = opened.search(queries, k)
        assert (distances.dtype, ids.dtype) == (np.float32, np.int64)
        assert distances.shape == ids.shape == (len(queries), k)
        for number, query in enumerate(queries):
            expected = brute_force(query, rows, distance)[:k]
            found = ids[number][: len(expected)].tolist()
            assert len(set(found)) == len(found) and min(found) >= 0
            measured = [distance_of(query, rows[row], distance) for row in found]
            # Ties may come in any order, so the distances are compared, and they are those of the ids.
            assert measured == pytest.approx([each for each, _ in expected], rel=1e-5, abs=1e-5)
            assert distances[number][: len(expected)].tolist() == pytest.approx(measured, rel=1e-4, abs=1e-3)
            assert ids[number][len(expected) :].tolist() == [-1] * (k - len(expected))
            assert np.isinf(distances[number][len(expected) :]).all()


@pytest.mark.parametrize(("index", "distance"), PAIRS, ids=identity)
def test_a_gallery_of_one(index: Index, distance: Distance, tmp_path: Path) -> None:
    rows, path = features(distance, 1), tmp_path / index.file
    index = Ivf() if isinstance(index, Ivf) else index
    index.build(path, rows, distance, seed=0)
    distances, ids = index.open(path, rows, distance).search(rows, 3)
    assert ids.tolist() == [[0, -1, -1]]
    assert distances.tolist() == [[pytest.approx(0, abs=1e-6), np.inf, np.inf]]


@pytest.mark.parametrize(("index", "distance"), PAIRS, ids=identity)
def test_an_index_of_rows_in_another_order_has_no_recall(index: Index, distance: Distance, tmp_path: Path) -> None:
    """The control of every recall: the same file, but ids that belong to other images."""
    index = Lsh(tables=8, bits=6) if isinstance(index, Lsh) else index  # else it looks at all and ranks them itself
    rows, path = features(distance), tmp_path / index.file
    own = np.arange(40)

    def measured(built_of: np.ndarray) -> float:
        index.build(path, built_of, distance, seed=0)
        ids = index.open(path, rows, distance).search(rows[own], 11)[1]
        return recall(rows, rows[own], ids, own, distance)

    assert measured(rows) >= index.least_recall
    assert measured(np.roll(rows, 1, axis=0)) < index.least_recall - 0.3
    assert measured(rows[np.random.default_rng(3).permutation(len(rows))]) < index.least_recall - 0.3


@pytest.mark.parametrize("index", [Flat(), Ivf(nlist=8), Hnsw(m=4), Lsh(), Usearch()], ids=identity)
def test_the_same_features_and_seed_give_the_same_bytes(index: Index, tmp_path: Path) -> None:
    rows = features("l2", 500)

    def built(seed: int, of: np.ndarray = rows) -> bytes:
        index.build(tmp_path / "index", of, "l2", seed)
        return (tmp_path / "index").read_bytes()

    assert built(0) == built(0)
    assert built(0) != built(0, rows + np.float32(0.5))
    assert (built(0) == built(1)) is isinstance(index, Flat | Usearch)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_another_process_finds_the_same(tmp_path: Path) -> None:
    expected = {}
    for index, distance in PAIRS:
        name = f"{index.component_name()}-{distance}"
        rows = features(distance)
        index.build(tmp_path / name, rows, distance, seed=0)
        expected[name] = index.open(tmp_path / name, rows, distance).search(rows[:9], 5)[1].tolist()
    code = """
import json, sys
from pathlib import Path
from compress import plugins
from compress.contracts import Index
from tests.indexes._galleries import features
found = {}
for path in Path(sys.argv[1]).iterdir():
    name, distance = path.name.split("-")
    rows = features(distance)
    found[path.name] = plugins.find(Index, name)().open(path, rows, distance).search(rows[:9], 5)[1].tolist()
print(json.dumps(found))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize("index", THOROUGH, ids=identity)
@pytest.mark.parametrize("damage", ["cut", "other", "empty", "missing"])
def test_damage_is_one_line_that_names_the_file(index: Index, damage: str, tmp_path: Path) -> None:
    distance = type(index).distances[0]
    rows, path = features(distance), tmp_path / "index"
    index.build(path, rows, distance, seed=0)
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "other": b"no index" * 999}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    with pytest.raises(BadInput) as caught:
        index.open(path, rows, distance)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", THOROUGH, ids=identity)
def test_an_index_of_another_gallery_is_refused(index: Index, tmp_path: Path) -> None:
    distance = type(index).distances[0]
    index.build(tmp_path / "index", features(distance), distance, seed=0)
    for other in (features(distance, 199), features(distance, dim=28)):
        with pytest.raises(BadInput, match=r"index: .*200 features of \d+ values"):
            index.open(tmp_path / "index", other, distance)


# --------------------------------------------------------------------------------------------------------- updates

UPDATABLE = [(index, distance) for index, distance in PAIRS if index.updatable]


@pytest.mark.parametrize(("index", "distance"), UPDATABLE, ids=identity)
def test_an_update_finds_what_a_new_index_finds(index: Index, distance: Distance, tmp_path: Path) -> None:
    rows, path = features(distance, 300), tmp_path / index.file
    keys = np.random.default_rng(4).integers(0, 2**63, 300, dtype=np.uint64)
    before, after = np.arange(200), np.arange(60, 300)
    assert index.update(path, keys[before], rows[before], distance) == (200, 0)
    assert index.update(path, keys[after], rows[after], distance) == (100, 60)
    assert index.update(path, keys[after], rows[after], distance) == (0, 0)
    _, ids = index.open_keys(path, keys[after], rows[after], distance).search(rows[after][:40], 11)
    assert recall(rows[after], rows[after][:40], ids, np.arange(40), distance) >= 0.99
    assert index.update(path, keys[:20], rows[:20], distance)[1] == 240  # made again
    _, ids = index.open_keys(path, keys[:20], rows[:20], distance).search(rows[:3], 30)
    assert ids[0].tolist()[20:] == [-1] * 10
    with pytest.raises(BadInput, match="update it with 'compress index --index'"):
        index.open_keys(path, keys[1:21], rows[1:21], distance)
    with pytest.raises(BadInput, match="20 features"):
        index.open_keys(path, keys[:21], rows[:21], distance)


@pytest.mark.parametrize(("index", "distance"), UPDATABLE, ids=identity)
def test_a_full_disk_leaves_the_index_before(index: Index, distance: Distance, tmp_path: Path) -> None:
    rows, path = features(distance, 200), tmp_path / index.file
    index.update(path, np.arange(100, dtype=np.uint64), rows[:100], distance)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limits[1]))  # no file may become larger
    try:
        with pytest.raises(MissingTool, match=rf"{index.file}: the index cannot be written .*; free some space"):
            index.update(path, np.arange(200, dtype=np.uint64), rows, distance)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# --------------------------------------------------------------------------------------------------------- recipes


def recipe_file(folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_a_recipe_names_an_index_and_its_options(tmp_path: Path) -> None:
    path = recipe_file(tmp_path)
    assert load_recipe(path).gallery.index is None
    recipe = load_recipe(path, ["gallery.index={lsh: {tables: 8, bits: 16}}"])
    assert recipe.gallery.index == Lsh(tables=8, bits=16)
    assert recipe.resolved["gallery"]["index"] == {"lsh": {"tables": 8, "bits": 16}}
    (tmp_path / "resolved.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.yaml") == recipe
    schema = json_schema()
    assert schema["properties"]["gallery"]["properties"]["index"]["oneOf"][1] == {"$ref": "#/$defs/indexes"}
    assert schema["$defs"]["indexes"]["oneOf"][0] == {"enum": plugins.names(Index)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["gallery.index=ifv"], "gallery.index: 'ifv' is not one of the indexes"),
        (["gallery.index={lsh: {table: 3}}"], "gallery.index.lsh.table: unknown key; did you mean 'tables'"),
        (["gallery.index={lsh: {bits: 0}}"], "gallery.index.lsh.bits: 0 is wrong"),
        (["gallery.index=binary_flat"], "'binary_flat' cannot search by the model's distance l2; take flat or"),
        (
            ["gallery.index=lsh", "model={architecture: deep_hash}"],
            "'lsh' cannot search by the model's distance hamming; take binary_flat",
        ),
        (["validate={gates: {index_recall: 0.9}}"], "validate.gates.index_recall: the gallery has no index"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_recipe(tmp_path: Path, changes: list[str], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_recipe(recipe_file(tmp_path), changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.nightly
def test_a_dry_run_finds_more_lists_than_images_and_a_missing_library(tmp_path: Path) -> None:
    path = recipe_file(tmp_path)
    with pytest.raises(BadInput, match=r"gallery\.index: ivf: nlist 501 is more than the gallery's 500 images"):
        plan(load_recipe(path, ["gallery={max_images: 500, index: {ivf: {nlist: 501}}}"]))
    assert plan(load_recipe(path, ["gallery.index={ivf: {nlist: 501}}"]))[-1].startswith('gallery: {"ivf"')
    ended = compress("run", path, "--dry-run", "--set", "gallery.index=hnsw", without=("faiss",))
    assert ended.code == 3
    assert 'pip install "compress-retrieval[index]"' in ended.complaint
