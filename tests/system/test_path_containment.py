"""Nothing outside a folder is reached, nothing blocks: whatever kind of file stands where a file is expected."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.system.path_containment import (
    MAX_ENTRIES,
    file_inside,
    folder_inside,
    is_file_inside,
    open_file,
    require_plain,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("private")
    (tmp_path / "inside" / "a").mkdir(parents=True)
    (tmp_path / "inside" / "a" / "file").write_text("public")
    return tmp_path / "inside"


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("../secret"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a file beside it": lambda path: path.symlink_to("a/file"),
    "a link to a folder": lambda path: path.symlink_to("a"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a FIFO": os.mkfifo,
    "a socket": _socket,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_kind_is_named_and_refused(folder: Path, kind: str) -> None:
    HOSTILE[kind](folder / "x")
    named = " ".join(kind.split()[:2])
    with pytest.raises(BadInput, match=f"inside/x: {named} instead of a file"):
        file_inside(folder, "x")
    with pytest.raises(BadInput, match=f"inside/x: {named} instead of a folder"):
        file_inside(folder, "x/file")
    with pytest.raises(BadInput, match=f"inside/x: {named}; put a file there"):
        require_plain(folder)
    assert not is_file_inside(folder, "x")
    if kind not in ("a link", "a link to a file beside it"):
        with pytest.raises(OSError, match=r"instead of a file|loop|levels|No such|links"):
            open_file(folder / "x")


def test_files_and_folders_are_told_apart(folder: Path) -> None:
    assert file_inside(folder, "a/file").read_text() == "public"
    assert folder_inside(folder, "a") == folder / "a"
    with pytest.raises(BadInput, match="inside/a: a folder instead of a file"):
        file_inside(folder, "a")
    with pytest.raises(BadInput, match="inside/a/file: a file instead of a folder"):
        file_inside(folder, "a/file/b")
    require_plain(folder)
    with open_file(folder / "a" / "file") as file:
        assert file.read() == b"public"


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert file_inside(link, "a/file").read_text() == "public"
    require_plain(link)


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "a/../../secret", "/etc/passwd", "a\0b"])
def test_names_that_lead_outside(folder: Path, name: str) -> None:
    with pytest.raises(BadInput, match="outside"):
        file_inside(folder, name)


@pytest.mark.parametrize("name", ["n" * 5000, "a/" * 3000 + "file", "\ud800"])
def test_names_that_no_system_holds(folder: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be read|missing|surrogates"):
        file_inside(folder, name)


def test_a_device_is_refused(folder: Path) -> None:
    with pytest.raises(OSError, match="a device instead of a file"):
        open_file(Path("/dev/zero"))


def test_a_folder_of_endless_entries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ENTRIES >= 10_000
    monkeypatch.setattr("compress.system.path_containment.MAX_ENTRIES", 2)
    (folder / "third").write_text("")
    with pytest.raises(BadInput, match="more than 2 files"):
        require_plain(folder)
