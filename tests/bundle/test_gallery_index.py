"""A run with an index: what bundle.json says, the same bytes again, searching with it, and wrong ones found out."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from compress.bundle.consistency import checksum
from compress.bundle.gallery_index import build_index, open_index
from compress.bundle.golden import make_golden, write_golden
from compress.bundle.manifest import IndexedGallery, Manifest, read_manifest
from compress.commands._tables import verified_index_line
from compress.commands.search import open_bundle, query
from compress.commands.verify import VerifiedIndex, verify
from compress.contracts import BadInput, CompressError, GalleryOptions, MissingTool
from compress.demo.app import create_app
from compress.gallery.nearest import nearest
from compress.gallery.store import GALLERY, read_gallery
from compress.indexes.binary_flat import BinaryFlat
from compress.indexes.ivf import Ivf
from compress.pipeline import run
from compress.recipe.reader import load_recipe
from compress.system.files import artifact_sha256
from tests import _pooled
from tests._command import REPOSITORY, compress_here
from tests.conftest import Finished
from validators.results import Gate


def with_index(finished: Finished, folder: Path, *changes: str) -> Manifest:
    """The manifest of the finished run's copy, one artifact of it, after the same recipe with an index."""
    shutil.copytree(finished.folder, folder)
    manifest = run(load_recipe(finished.recipe, ["export=[onnx: {}]", *changes]), folder)
    assert manifest is not None
    return manifest


@pytest.fixture(scope="module")
def lsh(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lsh") / "bundle"
    with_index(finished, folder, "gallery.index={lsh: {tables: 8, bits: 10}}")
    return folder


@pytest.fixture
def bundle(lsh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lsh, tmp_path / "bundle", ignore=shutil.ignore_patterns(".compress")))


def gallery_of(manifest: Manifest) -> IndexedGallery:
    assert isinstance(manifest.gallery, IndexedGallery)
    return manifest.gallery


def forge(bundle: Path, **changes: Any) -> None:
    """Make the manifest agree with the index as it is now."""
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["files"]["gallery/index.sqlite"] = artifact_sha256(bundle / "gallery/index.sqlite")
    manifest["gallery"] |= changes
    manifest["checksum"] = checksum(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_bundle_json_says_what_the_index_is_and_finds(lsh: Path) -> None:
    manifest = read_manifest(lsh)
    gallery = gallery_of(manifest)
    assert (gallery.images, gallery.of, gallery.queries, gallery.whole_gallery) == (60, 60, 60, None)
    assert (gallery.index, gallery.options) == ("lsh", {"tables": 8, "bits": 10})
    path = lsh / gallery.path
    assert gallery.bytes == path.stat().st_size
    assert manifest.files[gallery.path] == artifact_sha256(path)
    assert 0.9 <= gallery.recall <= 1
    assert 0.9 <= gallery.golden_recall <= 1
    assert gallery.gates == (Gate(name="index_recall", limit=0.9, value=gallery.recall, passed=True),)
    assert not [gate for artifact in manifest.artifacts for gate in artifact.gates if "index" in gate.name]
    assert min(gallery.latency_ms.build, gallery.latency_ms.query, gallery.latency_ms.exact) > 0


def test_without_an_index_the_gallery_says_so_and_older_bundles_say_nothing(finished: Finished) -> None:
    assert read_manifest(finished.folder).gallery.to_json() == {"images": 60, "of": 60, "index": None}
    assert open_bundle(finished.folder).index is None


@pytest.mark.nightly
def test_the_same_recipe_gives_the_same_index_and_another_recipe_removes_it(
    finished: Finished, lsh: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    with_index(finished, folder, "gallery.index={lsh: {tables: 8, bits: 10}}")
    first, again = read_manifest(lsh), read_manifest(folder)
    assert first.files == again.files
    galleries = [gallery_of(manifest).to_json() for manifest in (first, again)]
    for described in galleries:
        del described["latency_ms"]
    assert galleries[0] == galleries[1]
    assert run(load_recipe(finished.recipe, ["export=[onnx: {}]"]), folder) is not None
    assert [path.name for path in (folder / "gallery").iterdir()] == ["gallery.sqlite"]


@pytest.mark.nightly
def test_a_part_of_the_gallery_is_measured_and_so_is_the_whole(finished: Finished, tmp_path: Path) -> None:
    manifest = with_index(finished, tmp_path / "b", "gallery={max_images: 30, index: {hnsw: {m: 4}}}")
    gallery = gallery_of(manifest)
    assert (gallery.images, gallery.of, gallery.path) == (30, 60, "gallery/index.faiss")
    whole = gallery.whole_gallery
    assert whole is not None
    assert whole.images == 60
    assert whole.bytes > gallery.bytes
    assert (gallery.recall, whole.recall) == (1, 1)
    sha256 = manifest.files[gallery.path]
    opened = open_index(tmp_path / "b", gallery, sha256, read_gallery(tmp_path / "b" / GALLERY))
    assert not verify(tmp_path / "b", "onnxruntime").problems
    assert opened.search(np.zeros((1, 64), np.float32), 3)[1].max() < 30


@pytest.mark.nightly
def test_too_little_recall_fails_the_run(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "b")
    ended = compress_here(
        "run", finished.recipe, "--out", tmp_path / "b", "--set", "gallery.index={lsh: {tables: 1, bits: 12}}"
    )
    assert ended.code == 1
    (line,) = ended.stderr.splitlines()[-1:]
    assert line.startswith("FAILED gallery/index.sqlite: index_recall 0.")
    assert line.endswith(", limit 0.9")
    assert "index: lsh, recall@10 0." in ended.stdout
    # As a recipe that asks for less gets it.
    manifest = read_manifest(tmp_path / "b")
    recall = gallery_of(manifest).recall
    changes = ["gallery.index={lsh: {tables: 1, bits: 12}}", f"validate.gates={{index_recall: {recall}}}"]
    passed = run(load_recipe(finished.recipe, changes), tmp_path / "b")
    assert passed is not None
    assert passed.failures == ()


def test_hash_codes_are_indexed_by_what_they_differ_in(tmp_path: Path, digit_images: np.ndarray) -> None:
    pictures = _pooled.images(digit_images, 20)
    activations = _pooled.embed(pictures)
    gallery = _pooled.write(tmp_path / GALLERY, pictures, _pooled.BINARY, GalleryOptions(max_images=100))
    probes = (np.asarray(pictures.images)[:8], pictures.labels[:8], pictures.ids[:8], activations[:8])
    write_golden(tmp_path / "golden", make_golden(*probes, gallery, True), _pooled.CLASSES, gallery, "MIT")
    own = np.where(np.arange(200) % 2, -1, np.arange(200) // 2)  # every second image is in the bundle's gallery
    found = build_index(BinaryFlat(), tmp_path, activations, own, 0, (activations, np.arange(200)))
    assert found.whole_gallery is not None
    assert (found.recall, found.golden_recall, found.whole_gallery.recall) == (1, 1, 1)
    assert (found.images, found.whole_gallery.images) == (100, 200)
    with pytest.raises(CompressError, match=r"gallery\.index: ivf .*BadInput: ivf: nlist 300 is more than"):
        build_index(Ivf(nlist=300), tmp_path, activations, own, 0, None)


# -------------------------------------------------------------------------------------------------------- searching


def test_searching_by_the_index_finds_what_the_index_finds_and_exact_search_finds_all(
    bundle: Path, finished: Finished
) -> None:
    photo = finished.recipe.parent / "photos" / read_gallery(bundle / GALLERY).names[7]
    by_index, exactly = (query(bundle, photo, top=100, runtime="onnxruntime", exact=exact) for exact in (False, True))
    assert (by_index.index, exactly.index) == ("lsh", None)
    assert len(exactly.matches) == 60
    assert 1 <= len(by_index.matches) < 60
    # The ranking is the exact one of those that were found.
    found = {match.name for match in by_index.matches}
    assert list(by_index.matches) == [match for match in exactly.matches if match.name in found]
    ended = compress_here("search", bundle, photo, "--runtime", "onnxruntime", "--top", "1")
    assert ended.stdout.splitlines()[0].endswith("60 gallery images by lsh")


def test_the_search_page_says_what_it_searches_with(bundle: Path) -> None:
    for exact, index in ((False, "lsh"), (True, None)):
        with TestClient(create_app([bundle], exact=exact), base_url="http://localhost") as client:
            assert client.get("/artifacts").json()["index"] == index


def test_a_damaged_index_is_one_line_and_exact_search_goes_on(bundle: Path, finished: Finished) -> None:
    photo = next((finished.recipe.parent / "photos").glob("*/*"))
    path = bundle / "gallery/index.sqlite"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput) as caught:
        query(bundle, photo, top=1)
    assert str(caught.value).startswith(f"{path}: missing, or changed since the bundle was made")
    assert str(caught.value).endswith("or compare with every image (--exact)")
    assert query(bundle, photo, top=1, runtime="onnxruntime", exact=True).matches
    result = verify(bundle, "onnxruntime")
    assert result.problems == ("gallery/index.sqlite: changed since the bundle was made (sha256 differs)",)
    reason = "its sha256 differs from the manifest's"
    assert result.index == VerifiedIndex(index="lsh", golden_recall=None, reason=reason)


def test_what_cannot_be_ranked_is_refused_before_an_index_sees_it(bundle: Path) -> None:
    searchable = open_bundle(bundle)
    for unusable in (np.full((1, 64), np.nan, np.float32), np.zeros((1, 63), np.float32)):
        with pytest.raises(ValueError, match="queries"):
            nearest(searchable.gallery, unusable, 3, index=searchable.index)


@pytest.mark.nightly
def test_a_process_that_searches_with_faiss_has_no_pytorch(finished: Finished, tmp_path: Path) -> None:
    """The two bring an OpenMP each; on macOS a process that loads both ends."""
    with_index(finished, tmp_path / "b", "gallery.index=flat")
    code = """
import sys
from pathlib import Path
from compress.commands.search import query
from compress.commands.verify import VerifiedIndex, verify
bundle, photo = map(Path, sys.argv[1:])
assert query(bundle, photo, top=3, runtime="onnxruntime").index == "flat"
assert not verify(bundle, "onnxruntime").problems
assert "faiss" in sys.modules and "torch" not in sys.modules
"""
    photo = next((finished.recipe.parent / "photos").glob("*/*"))
    subprocess.run([sys.executable, "-c", code, tmp_path / "b", photo], cwd=REPOSITORY, check=True)
    # And where faiss is missing, verify says so and checks the rest; a search says what to do.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None if name == "faiss" else find_spec(name))
        result = verify(tmp_path / "b", "onnxruntime")
        assert not result.problems
        assert result.index is not None
        assert "flat was not searched: the index flat needs faiss-cpu" in verified_index_line(result.index)
        with pytest.raises(MissingTool, match=r"compress-retrieval\[index\].*--exact"):
            open_bundle(tmp_path / "b")


# -------------------------------------------------------------------------------------------------------- verifying


def test_an_index_with_the_ids_of_other_images_is_found_out_even_with_its_own_hash(bundle: Path) -> None:
    result = verify(bundle, "onnxruntime")
    assert not result.problems
    recorded = gallery_of(read_manifest(bundle)).golden_recall
    assert result.index == VerifiedIndex(index="lsh", golden_recall=recorded, reason=None)
    assert verified_index_line(result.index) == f"index: lsh, finds {recorded:.3f} of the golden images' neighbours"
    path = bundle / "gallery/index.sqlite"
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT tab, code, ids FROM buckets").fetchall()
        for table, code, blob in rows:
            shifted = np.sort((np.frombuffer(blob, "<i4") + 13) % 60).astype("<i4").tobytes()
            database.execute("UPDATE buckets SET ids = ? WHERE tab = ? AND code = ?", (shifted, table, code))
        database.commit()
    forge(bundle)
    (problem,) = verify(bundle, "onnxruntime").problems
    assert problem.startswith("gallery/index.sqlite: finds 0.")
    assert problem.endswith("when it was made")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"trees": 3}}, "gallery.index.lsh.trees: unknown key"),
        ({"path": "../index.sqlite"}, "lies outside the bundle"),
    ],
)
def test_a_manifest_of_another_version_is_bad_input(bundle: Path, changes: dict[str, Any], words: str) -> None:
    forge(bundle, **changes)
    with pytest.raises(BadInput) as caught:
        open_bundle(bundle)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_chooses_no_code_of_other_packages(bundle: Path) -> None:
    forge(bundle, index="annoy")
    with pytest.raises(MissingTool, match=r"^[^\n]*'annoy' is code of another package, which a bundle must not choose"):
        open_bundle(bundle)
