"""``compress index``: an updated gallery equals a new one, and nothing but the change is embedded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from compress.bundle.manifest import read_manifest
from compress.catalogue import living_gallery
from compress.catalogue.embedding import embed_photographs
from compress.catalogue.journal import Journal
from compress.commands.index import default_file, index, statistics
from compress.commands.search import query
from compress.commands.verify import verify
from compress.contracts import BadInput, MissingTool
from compress.gallery.store import GALLERY, read_gallery, read_thumbnail
from compress.system import sqlite as database
from tests._command import REPOSITORY, compress, compress_here
from tests.conftest import Finished
from validators import run_artifact
from validators.resident import Resident

ARTIFACT = "tiny.fp32.onnx"


@pytest.fixture
def bundle(finished: Finished) -> Path:
    return finished.folder


@pytest.fixture
def photos(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    """20 photographs of two labels."""
    for label in range(2):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 10)
    return tmp_path / "photos"


def made(bundle: Path, photos: Path, file: Path, **options: Any) -> living_gallery.Update:
    return index(bundle, [photos], file, artifact=ARTIFACT, workers=2, **options)[1]


def counts(update: living_gallery.Update) -> tuple[int, int, int, int]:
    return update.images, update.embedded, update.unchanged, update.removed


def test_a_gallery_holds_what_the_artifact_gives(bundle: Path, photos: Path, tmp_path: Path) -> None:
    assert counts(made(bundle, photos, tmp_path / "own.sqlite")) == (20, 20, 0, 0)
    gallery = read_gallery(tmp_path / "own.sqlite")
    assert gallery.names == tuple(sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.jpg")))
    assert gallery.labels == ("digit 0",) * 10 + ("digit 1",) * 10
    manifest = read_manifest(bundle)
    assert gallery.meta["space_id"] == manifest.embedding.space_id
    size = manifest.preprocess.value.size
    for row in (0, 13):
        pixels = Image.open(photos / gallery.names[row]).resize(size[::-1], Image.Resampling.BILINEAR)
        expected = run_artifact(bundle / "artifacts" / ARTIFACT, np.asarray(pixels)[None])
        assert np.array_equal(gallery.features[row], expected[0])
    found = query(bundle, photos / gallery.names[3], top=2, artifact=ARTIFACT, gallery=tmp_path / "own.sqlite")
    assert (found.gallery, found.matches[0].name, found.matches[0].distance) == (20, gallery.names[3], 0)
    assert found.matches[1].distance > 0
    thumbnail = read_thumbnail(tmp_path / "own.sqlite", 3)
    assert thumbnail is not None
    assert thumbnail.startswith(b"\xff\xd8")


def test_only_the_change_is_embedded_and_the_result_is_that_of_a_new_index(
    bundle: Path, photos: Path, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    file = tmp_path / "own.sqlite"
    made(bundle, photos, file)
    first = file.read_bytes()
    assert counts(made(bundle, photos, file)) == (20, 0, 20, 0)
    assert file.read_bytes() == first

    (photos / "digit 0/000000.jpg").unlink()
    (photos / "digit 0/000001.jpg").rename(photos / "digit 1/moved.jpg")
    edited = photos / "digit 1/000002.jpg"
    Image.open(edited).rotate(90).save(edited)
    save_photos(photos / "digit 2", 2, 3)
    assert counts(made(bundle, photos, file, sync=True)) == (22, 4, 18, 2)
    made(bundle, photos, tmp_path / "new.sqlite")
    assert file.read_bytes() == (tmp_path / "new.sqlite").read_bytes() != first


def test_without_sync_what_is_gone_stays(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.sqlite"
    made(bundle, photos, file)
    shutil.rmtree(photos / "digit 1")
    assert counts(made(bundle, photos, file)) == (20, 0, 20, 0)
    assert counts(made(bundle, photos, file, sync=True)) == (10, 0, 10, 10)


def test_images_are_removed_by_name_and_by_pattern(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.sqlite"
    made(bundle, photos, file)
    _, update, _ = index(bundle, [], file, without=["digit 0/000003.jpg", "digit 1/00000[4-6].jpg"])
    assert counts(update) == (16, 0, 16, 4)
    before = file.read_bytes()
    with pytest.raises(BadInput, match=r"--remove nothing\*: no image of the gallery has this name"):
        index(bundle, [], file, without=["nothing*"])
    with pytest.raises(BadInput, match="no image would be left"):
        index(bundle, [], file, without=["*"])
    assert file.read_bytes() == before


def test_copies_are_found_by_file_and_by_embedding(bundle: Path, photos: Path, tmp_path: Path) -> None:
    original = photos / "digit 0/000000.jpg"
    shutil.copy(original, photos / "digit 1/copy.jpg")
    Image.open(original).save(photos / "digit 1/saved again.png")
    update = made(bundle, photos, tmp_path / "own.sqlite")
    assert update.same_file == (("digit 0/000000.jpg", "digit 1/copy.jpg"),)
    assert update.same_embedding == (("digit 0/000000.jpg", "digit 1/saved again.png"),)


def test_labels_come_from_a_table_or_not_at_all(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.sqlite"
    made(bundle, photos, file, labels="none")
    assert set(read_gallery(file).labels) == {""}
    (tmp_path / "labels.csv").write_text("label,path\nzero,./digit 0/000000.jpg\nzero,gone.jpg\n", encoding="utf-8")
    update = made(bundle, photos, file, labels=str(tmp_path / "labels.csv"))
    assert counts(update) == (20, 0, 20, 0)
    assert list(update.left_out) == ["gone.jpg"]
    assert read_gallery(file).labels == ("zero",) + ("",) * 19
    assert statistics(bundle, file).labels == {"": 19, "zero": 1}
    (tmp_path / "labels.csv").write_text("name,label\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"labels\.csv: no column 'path'"):
        made(bundle, photos, file, labels=str(tmp_path / "labels.csv"))


def test_what_cannot_be_decoded_is_listed(bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "digit 0/broken.jpg").write_bytes((photos / "digit 0/000000.jpg").read_bytes()[:200])
    (photos / "notes.txt").write_text("none of the photographs", encoding="utf-8")
    update = made(bundle, photos, tmp_path / "own.sqlite")
    assert (update.images, set(update.left_out)) == (20, {"digit 0/broken.jpg", "notes.txt"})


# ------------------------------------------------------------------------------------------------- interruptions


def test_an_interrupted_index_goes_on_where_it_stopped(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*arguments: Any) -> Iterator[Any]:
        yield next(embed_photographs(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(living_gallery, "embed_photographs", stops)
        with pytest.raises(KeyboardInterrupt):
            made(bundle, photos, tmp_path / "own.sqlite")
    assert not (tmp_path / "own.sqlite").exists()
    assert counts(made(bundle, photos, tmp_path / "own.sqlite")) == (20, 4, 0, 0)
    made(bundle, photos, tmp_path / "new.sqlite")
    assert (tmp_path / "own.sqlite").read_bytes() == (tmp_path / "new.sqlite").read_bytes()
    assert not list(tmp_path.glob(".*journal"))


KILLED = """
import os, signal, sys
from pathlib import Path
from compress.catalogue import journal, living_gallery
from compress.commands.index import index

where, bundle, photos, file, artifact = sys.argv[1:]
calls = []

def dying(function, last):
    def call(*arguments):
        found = function(*arguments)
        calls.append(1)
        if len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call

journal._SECONDS = 0
if where == "embedding":
    journal.Journal.add = dying(journal.Journal.add, 2)
else:
    living_gallery._stored = dying(living_gallery._stored, 25)
index(Path(bundle), [Path(photos)], Path(file), artifact=artifact, workers=2)
"""


@pytest.mark.nightly
@pytest.mark.parametrize(("where", "left"), [("embedding", 8), ("writing", 0)])
def test_a_killed_command_leaves_the_gallery_before_and_goes_on(
    where: str, left: int, bundle: Path, photos: Path, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    """SIGKILL after the second of three chunks was stored, and when 24 of 60 rows of the new file were written."""
    file = tmp_path / "own.sqlite"
    made(bundle, photos, file)
    before = file.read_bytes()
    for label in range(2, 6):
        save_photos(photos / f"digit {label}", label, 10)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, where, bundle, photos, file, ARTIFACT], cwd=REPOSITORY, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert file.read_bytes() == before
    assert len(query(bundle, photos / "digit 0/000000.jpg", top=20, artifact=ARTIFACT, gallery=file).matches) == 20
    assert counts(made(bundle, photos, file)) == (60, left, 20, 0)
    made(bundle, photos, tmp_path / "new.sqlite")
    assert file.read_bytes() == (tmp_path / "new.sqlite").read_bytes() != before
    assert {each.name for each in tmp_path.iterdir() if "lock" not in each.name} == {"photos", file.name, "new.sqlite"}


def test_a_killed_worker_changes_nothing(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(bundle, photos, tmp_path / "new.sqlite")
    whole, killed = Resident.embed_all, []

    def dies_first(self: Resident, images: np.ndarray) -> np.ndarray:
        if not killed:
            killed.append(self)
            whole(self, images)
            os.kill(self._child._child.process.pid, signal.SIGKILL)
        return whole(self, images)

    monkeypatch.setattr(Resident, "embed_all", dies_first)
    made(bundle, photos, tmp_path / "own.sqlite")
    assert killed
    assert (tmp_path / "own.sqlite").read_bytes() == (tmp_path / "new.sqlite").read_bytes()


def test_readers_see_the_gallery_before_until_the_new_one_is_whole(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.sqlite"
    made(bundle, photos, file)
    with closing(database.Reader(file)) as reader:
        index(bundle, [], file, without=["digit 0/*"])
        assert reader.rows("SELECT count(*) FROM images") == [(20,)]
    assert len(read_gallery(file).names) == 10


def test_a_second_writer_is_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".own.sqlite.lock"), pytest.raises(BadInput, match="another command is writing"):
        made(bundle, photos, tmp_path / "own.sqlite")


def test_a_full_disk_loses_nothing(bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, finished: object) -> None:
        self._database.execute("PRAGMA max_page_count = 4")
        for number in range(9999):
            with self._database:
                self._database.execute("INSERT INTO done VALUES (?, 1, 1, ?, ?)", (bytes([number]), b"", bytes(4000)))

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", full)
        with pytest.raises(MissingTool, match=r"own\.sqlite: the disk is full; free"):
            made(bundle, photos, tmp_path / "own.sqlite")
    assert counts(made(bundle, photos, tmp_path / "own.sqlite"))[0] == 20


# ------------------------------------------------------------------------------------------------------ bad input


def edit_meta(file: Path, **values: Any) -> None:
    with closing(sqlite3.connect(file)) as opened, opened:
        for key, value in values.items():
            opened.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(value), key))


def test_a_gallery_of_another_model_is_refused_everywhere(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.sqlite"
    made(bundle, photos, file)
    assert not [line for line in verify(bundle, "onnxruntime", gallery=file).problems if "own.sqlite" in line]
    edit_meta(file, artifact_sha256="0" * 64)
    (problem,) = [line for line in verify(bundle, "onnxruntime", gallery=file).problems if "own.sqlite" in line]
    assert "which this bundle does not hold" in problem
    edit_meta(file, space_id="of another model")
    (problem,) = [line for line in verify(bundle, "onnxruntime", gallery=file).problems if "own.sqlite" in line]
    assert "of another model" in problem
    with pytest.raises(BadInput, match=r"embedding space of another model, this is .* choose another --out"):
        made(bundle, photos, file)
    with pytest.raises(BadInput, match="made in the embedding space of another model"):
        query(bundle, photos / "digit 0/000000.jpg", top=1, gallery=file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"places": ["nothing"]}, "nothing: there is no such folder"),
        ({"places": ["empty"]}, "empty: holds no photographs"),
        ({"places": []}, "give photographs to index"),
        ({"places": [], "sync": True}, "--sync: give the folders"),
        ({"workers": 0}, "--workers 0"),
        ({"artifact": "tiny.fp32.onnz"}, "did you mean 'tiny.fp32.onnx'"),
        ({"labels": "nothing.csv"}, "--labels nothing.csv: give folders, none"),
        ({"out": "bundle"}, "lies inside the bundle"),
        ({"out": "run"}, "is the gallery of a run"),
        ({"out": "later"}, "later.sqlite: schema 2 is newer than 1; upgrade Compress"),
        ({"places": ["unreadable"]}, "own.sqlite: no image would be left"),
        ({"places": ["bundle/golden"]}, "bundle/golden: lies inside the bundle, whose pictures are the run's"),
        ({"places": ["bundle/.."]}, "bundle/..: holds the bundle "),
        ({"places": ["list.csv"]}, "list.csv: has no column 'path' (it has file)"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(
    options: dict[str, Any], message: str, bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "unreadable").mkdir()
    (tmp_path / "unreadable/photo.jpg").write_bytes(b"\xff\xd8\xff none")
    (tmp_path / "list.csv").write_text("file\na.jpg\n", encoding="utf-8")
    (tmp_path / "bundle").symlink_to(bundle)
    for name in ("run", "later"):
        shutil.copy(bundle / GALLERY, tmp_path / f"{name}.sqlite")
    edit_meta(tmp_path / "later.sqlite", schema=2)
    places = [Path(each) for each in options.pop("places", [photos])]
    outs = {"bundle": bundle / "own.sqlite", **{name: tmp_path / f"{name}.sqlite" for name in ("run", "later")}}
    out = outs.get(options.pop("out", ""), tmp_path / "own.sqlite")
    with pytest.raises(BadInput) as caught:
        index(bundle, places, out, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "own.sqlite").exists()


def test_the_command_says_what_it_did(bundle: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    ended = compress("index", tmp_path / "b", photos, "--artifact", ARTIFACT)
    assert ended.code == 0, ended.stderr
    file = default_file(tmp_path / "b")
    assert ended.stdout == f"{file}: 20 images; 20 embedded, 0 unchanged, 0 removed, 0 left out\n"
    stats = json.loads(compress("index", tmp_path / "b", "--stats", "--json").stdout)
    assert (stats["images"], stats["labels"]) == (20, {"digit 0": 10, "digit 1": 10})


@pytest.mark.nightly
def test_every_command_line_takes_the_gallery(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file, photo = tmp_path / "own.sqlite", photos / "digit 0/000000.jpg"
    made(bundle, photos, file)

    def said(*arguments: str | Path) -> str:
        ended = compress_here(*arguments)
        assert ended.code == 0, ended.stderr
        return ended.stdout

    removed = json.loads(said("index", bundle, "--out", file, "--remove", "digit 1/00000[0-4].jpg", "--json"))
    assert (removed["images"], removed["removed"]) == (15, 5)
    shutil.rmtree(photos / "digit 1")
    synced = said("index", bundle, photos, "--out", file, "--sync", "--labels", "none")
    assert synced == f"{file}: 10 images; 0 embedded, 10 unchanged, 5 removed, 0 left out\n"
    found = said("search", bundle, photo, "--gallery", file, "--threshold", "1e-9", "--artifact", ARTIFACT)
    assert "10 gallery images" in found and "000000.jpg" in found and "000001.jpg" not in found
    edit_meta(file, space_id="of another model")
    ended = compress_here("search", bundle, photo, "--gallery", file)
    assert (ended.code, "made in the embedding space of another model" in ended.complaint) == (2, True)
    ended = compress_here("verify", bundle, "--runtime", "onnxruntime", "--gallery", file)
    assert (ended.code, "FAILED" in ended.stderr and "of another model" in ended.stderr) == (1, True)
