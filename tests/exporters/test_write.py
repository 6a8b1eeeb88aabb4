"""An artifact appears whole or not at all, and never in place of something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.contracts import BadInput
from exporters._write import unfinished


def put(path: Path, text: str) -> None:
    """A file, or a package with one file."""
    if path.suffix == ".mlpackage":
        path.mkdir()
        path = path / "Manifest.json"
    path.write_text(text)


def content(path: Path) -> str:
    return (path / "Manifest.json" if path.is_dir() else path).read_text()


@pytest.fixture(params=["m.pt", "m.mlpackage"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / "out" / str(request.param)


def test_it_appears_at_the_end_of_the_block(path: Path) -> None:
    with unfinished(path) as written:
        put(written, "new")
        assert not path.exists()
    assert content(path) == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_export_keeps_the_old_artifact(path: Path) -> None:
    with unfinished(path) as written:
        put(written, "old")
    with pytest.raises(ZeroDivisionError), unfinished(path) as written:  # noqa: PT012 - the block is what is tested
        put(written, "half")
        raise ZeroDivisionError
    assert content(path) == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_new_artifact_replaces_the_old_one(path: Path) -> None:
    for text in ("old", "new"):
        with unfinished(path) as written:
            put(written, text)
    assert content(path) == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_export_left_is_cleared(path: Path) -> None:
    killed = unfinished(path)
    put(killed.__enter__(), "half")
    assert len(list(path.parent.iterdir())) == 1
    with unfinished(path) as written:
        put(written, "new")
    assert content(path) == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_of_the_same_name_is_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "weights.pt"
    folder.mkdir()
    (folder / "precious").write_text("data")
    with pytest.raises(BadInput, match=r"weights\.pt: is a folder"), unfinished(folder) as written:
        put(written, "new")
    assert (folder / "precious").read_text() == "data"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_of_the_same_name_is_not_deleted(tmp_path: Path) -> None:
    file = tmp_path / "m.mlpackage"
    file.write_text("data")
    with pytest.raises(BadInput, match=r"m\.mlpackage: is a file"), unfinished(file) as written:
        put(written, "new")
    assert file.read_text() == "data"


def test_a_parent_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(BadInput, match="cannot be written"), unfinished(tmp_path / "out" / "m.pt"):
        pass
