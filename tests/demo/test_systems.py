"""Several bundles on one page, and a gallery file that is replaced while it is served."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from compress.bundle.manifest import MANIFEST
from compress.commands.search import query
from compress.contracts import BadInput
from compress.demo.app import create_app
from compress.demo.systems import open_systems
from compress.gallery.store import GALLERY
from tests.conftest import Finished

ONNX = "tiny.fp32.onnx"
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def digit(finished: Finished) -> Path:
    return finished.recipe.parent / "photos/digit 3/000004.jpg"


@pytest.fixture
def other(finished: Finished, tmp_path: Path) -> Path:
    """A bundle of another embedding space: the same network, whose gallery knows only the digit 7."""
    folder = tmp_path / "other"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(".compress"))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["embedding"]["space_id"] = "another"
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    only(folder / GALLERY, "digit 7", space="another")
    return folder


def only(file: Path, label: str, space: str | None = None) -> None:
    """Replace a gallery file by one with the images of this label alone, as 'compress index' replaces it."""
    unfinished = file.with_suffix(".new")
    shutil.copyfile(file, unfinished)
    with sqlite3.connect(unfinished) as database:
        database.execute("DELETE FROM images WHERE label != ?", (label,))
        rows = [row for (row,) in database.execute("SELECT id FROM images ORDER BY id")]
        for number, row in enumerate(rows):
            database.execute("UPDATE images SET id = ? WHERE id = ?", (number, row))
        database.execute("UPDATE meta SET value = ? WHERE key = 'images'", (json.dumps(len(rows)),))
        if space is not None:
            database.execute("UPDATE meta SET value = ? WHERE key = 'space_id'", (json.dumps(space),))
    database.close()
    unfinished.replace(file)


def client(*folders: Path, galleries: tuple[Path, ...] = ()) -> TestClient:
    return TestClient(create_app(list(folders), galleries=list(galleries)), base_url="http://127.0.0.1:8000")


def labels(answer: dict) -> set[str]:
    return {match["label"] for match in answer["matches"]}


def test_two_bundles_answer_side_by_side(finished: Finished, other: Path, digit: Path) -> None:
    with client(finished.folder, other) as page:
        info = page.get("/artifacts").json()
        assert (info["bundle"], info["gallery"]) == ("tiny", 60)
        assert [(each["bundle"], each["gallery"]) for each in info["bundles"]] == [("tiny", 60), ("tiny (2)", 6)]
        assert {row["bundle"] for row in info["artifacts"]} == {"tiny", "tiny (2)"}

        def ask(**asked: str) -> dict:
            answer = page.post("/search", params=asked, content=digit.read_bytes(), headers=JPEG)
            assert answer.status_code == 200, answer.text
            return answer.json()

        first, second = ask(artifact=ONNX), ask(artifact=ONNX, bundle="tiny (2)")
        assert (first["bundle"], first["gallery"], len(labels(first)) > 1) == ("tiny", 60, True)
        assert (second["bundle"], second["gallery"], labels(second)) == ("tiny (2)", 6, {"digit 7"})
        expected = query(finished.folder, digit, top=10, artifact=ONNX)
        assert [match["name"] for match in first["matches"]] == [match.name for match in expected.matches]
        pictures = [page.get(answer["matches"][0]["thumbnail"]) for answer in (first, second)]
        assert {picture.headers["content-type"] for picture in pictures} == {"image/jpeg"}
        assert pictures[0].content != pictures[1].content
        refused = page.post("/search", params={"artifact": ONNX, "bundle": "none"}, content=b"x", headers=JPEG)
        assert (refused.status_code, refused.json()["error"]) == (404, "bundle 'none': there are tiny, tiny (2)")


@pytest.fixture
def gallery(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(finished.folder / GALLERY, tmp_path / "own.sqlite"))


@pytest.fixture
def served(finished: Finished, gallery: Path) -> Iterator[TestClient]:
    with client(finished.folder, galleries=(gallery,)) as page:
        yield page


def test_a_gallery_that_was_replaced_is_searched_at_once(served: TestClient, gallery: Path, digit: Path) -> None:
    def ask() -> dict:
        found = served.post("/search", params={"artifact": ONNX}, content=digit.read_bytes(), headers=JPEG).json()
        assert isinstance(found, dict)
        return found

    before = ask()
    assert before["gallery"] == 60
    only(gallery, "digit 7")
    assert served.get(before["matches"][0]["thumbnail"]).status_code == 404  # another image has this number now
    after = ask()
    assert (after["gallery"], labels(after)) == (6, {"digit 7"})
    assert served.get(after["matches"][0]["thumbnail"]).status_code == 200
    assert served.get("/artifacts").json()["gallery"] == 6


def test_one_that_was_replaced_by_something_else_is_a_sentence(
    served: TestClient, gallery: Path, digit: Path, finished: Finished
) -> None:
    asked = {"artifact": ONNX}
    gallery.write_bytes(b"no gallery")
    failed = served.post("/search", params=asked, content=digit.read_bytes(), headers=JPEG)
    assert (failed.status_code, "the gallery is damaged" in failed.json()["error"]) == (500, True)
    shutil.copyfile(finished.folder / GALLERY, gallery)
    assert served.post("/search", params=asked, content=digit.read_bytes(), headers=JPEG).status_code == 200


def test_galleries_go_to_the_bundles_of_their_space(finished: Finished, other: Path, tmp_path: Path) -> None:
    own = Path(shutil.copyfile(finished.folder / GALLERY, tmp_path / "own.sqlite"))
    only(own, "digit 1")
    systems = open_systems([other, finished.folder], exact=False, galleries=[own])
    assert [set(system.now().bundle.gallery.labels) for system in systems] == [{"digit 7"}, {"digit 1"}]
    with pytest.raises(BadInput, match=r"own\.sqlite: made in the embedding space .*, which no bundle here has"):
        open_systems([other, other], exact=False, galleries=[own])
    with pytest.raises(BadInput, match="already searches"):
        open_systems([finished.folder, other], exact=False, galleries=[own, own])
