"""Files and folders appear whole or not at all, and never in place of something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.system.files import atomic


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
    with atomic(path) as written:
        put(written, "new")
        assert not path.exists()
    assert content(path) == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_content(path: Path) -> None:
    with atomic(path) as written:
        put(written, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as written:  # noqa: PT012 - the block is what is tested
        put(written, "half")
        raise ZeroDivisionError
    assert content(path) == "old"
    assert list(path.parent.iterdir()) == [path]


def test_new_content_replaces_the_old(path: Path) -> None:
    for text in ("old", "new"):
        with atomic(path) as written:
            put(written, text)
    assert content(path) == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_write_left_is_removed(path: Path) -> None:
    killed = atomic(path)
    put(killed.__enter__(), "half")
    assert len(list(path.parent.iterdir())) == 1
    with atomic(path) as written:
        put(written, "new")
    assert content(path) == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_kill_between_the_two_renames_of_a_folder_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    killed = atomic(path)
    put(killed.__enter__(), "new")
    put(path, "old")
    path.rename(path.with_name(f".{path.name}.unfinished") / f"replaced.{path.name}")
    with pytest.raises(ZeroDivisionError), atomic(path):
        raise ZeroDivisionError
    assert content(path) == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_of_the_same_name_is_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "weights.pt"
    folder.mkdir()
    (folder / "precious").write_text("data")
    with pytest.raises(BadInput, match=r"weights\.pt: is a folder"), atomic(folder) as written:
        put(written, "new")
    assert (folder / "precious").read_text() == "data"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_of_the_same_name_is_not_deleted(tmp_path: Path) -> None:
    file = tmp_path / "m.mlpackage"
    file.write_text("data")
    with pytest.raises(BadInput, match=r"m\.mlpackage: is a file"), atomic(file) as written:
        put(written, "new")
    assert file.read_text() == "data"


def test_a_parent_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(BadInput, match="cannot be written"), atomic(tmp_path / "out" / "m.pt"):
        pass
