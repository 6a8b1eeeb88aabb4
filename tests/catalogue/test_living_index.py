"""The index beside a gallery: it follows every update, finds what comparing finds, and is refused where it is old."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.catalogue.living_index import IndexUpdate
from compress.commands.index import index
from compress.commands.search import query
from compress.contracts import BadInput
from compress.demo.systems import System
from tests._command import compress_here
from tests.conftest import Finished

ARTIFACT = "tiny.fp32.onnx"


@pytest.fixture(scope="module")
def bundle(finished: Finished) -> Path:
    return finished.folder


@pytest.fixture
def photos(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    """30 photographs, two of which are the same file."""
    folder = tmp_path / "photos"
    save_photos(folder, 3, 30)
    shutil.copyfile(folder / "000004.jpg", folder / "copy.jpg")
    return folder


def made(bundle: Path, photos: Path, file: Path, **options: object) -> IndexUpdate | None:
    return index(bundle, [photos], file, artifact=ARTIFACT, workers=1, **options)[2]  # type: ignore[arg-type]


def test_it_follows_the_gallery_and_finds_what_comparing_finds(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file, photo = tmp_path / "own.sqlite", photos / "000004.jpg"
    beside = tmp_path / "own.sqlite.usearch"
    assert made(bundle, photos, file, follow="usearch") == IndexUpdate(str(beside), 31, 0)
    old = beside.read_bytes()

    def searched(exact: bool = False) -> tuple[str | None, list[str]]:
        found = query(bundle, photo, top=8, artifact=ARTIFACT, gallery=file, exact=exact)
        return found.index, [match.name for match in found.matches]

    assert searched() == ("usearch", searched(exact=True)[1])
    assert searched()[1][:2] == ["000004.jpg", "copy.jpg"]  # the copy has a key of its own
    for name in ("000003.jpg", "copy.jpg"):
        (photos / name).unlink()
    shutil.copyfile(photos / "000005.jpg", photos / "new.jpg")
    assert made(bundle, photos, file, sync=True) == IndexUpdate(str(beside), 1, 2)  # without being asked again
    assert searched() == ("usearch", searched(exact=True)[1])
    beside.write_bytes(old)  # as if the command had been killed between the two files
    with pytest.raises(BadInput, match=r"usearch: holds .* update it with 'compress index --index'; or compare with"):
        searched()
    assert searched(exact=True)[0] is None
    system = System("tiny", bundle, exact=False, gallery=file)
    assert system.now().bundle.index is None  # the page searches without it meanwhile
    assert made(bundle, photos, file, sync=True) == IndexUpdate(str(beside), 1, 2)
    assert system.now().bundle.index_name == "usearch"


def test_one_of_another_artifact_is_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    made(bundle, photos, tmp_path / "own.sqlite", follow="usearch")
    index(bundle, [photos], tmp_path / "other.sqlite", artifact="tiny.fp32.tflite", workers=1)
    shutil.copyfile(tmp_path / "own.sqlite.usearch", tmp_path / "other.sqlite.usearch")
    with pytest.raises(BadInput, match="holds other images than the gallery"):
        query(bundle, photos / "000004.jpg", top=1, gallery=tmp_path / "other.sqlite")


def test_names_that_do_not_fit_are_one_line_before_anything_is_embedded(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    for name, words in {
        "userach": "--index userach: those that follow a gallery are usearch, usearch_i8; did you mean 'usearch'",
        "lsh": "those that follow a gallery are usearch, usearch_i8",
        "usearch_i8": "cannot search by the gallery's distance l2; take usearch",
    }.items():
        with pytest.raises(BadInput) as caught:
            made(bundle, photos, tmp_path / "own.sqlite", follow=name)
        assert words in str(caught.value)
    assert not (tmp_path / "own.sqlite").exists()


def test_the_command_line_says_what_it_did(bundle: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.sqlite"
    index(bundle, [photos], file, artifact=ARTIFACT, workers=1)
    ended = compress_here("index", bundle, "--out", file, "--index", "usearch", "--json")
    assert ended.code == 0, ended.stderr
    assert json.loads(ended.stdout)["index"] == {"file": f"{file}.usearch", "added": 31, "removed": 0}
    (tmp_path / "own.sqlite.usearch_i8").write_bytes(b"")
    (tmp_path / "own.sqlite.usearch").unlink()
    ended = compress_here("index", bundle, "--out", file, "--index", "usearch")
    assert (ended.code, "is there already; remove that file first" in ended.complaint) == (2, True)
