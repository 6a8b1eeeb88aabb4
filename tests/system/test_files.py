"""A folder's hash is what standard tools print, and sees every change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.system.files import artifact_bytes, artifact_sha256, write_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"b.txt": "b", "a/z": "", "a.txt": "abc", "a/é/c": "abcd"}.items():
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "folder"


def test_a_file(folder: Path) -> None:
    file = folder / "a.txt"
    assert artifact_sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert artifact_bytes(file) == 3


def test_a_folder_by_hand(folder: Path) -> None:
    names = ["a.txt", "a/z", "a/é/c", "b.txt"]  # "." sorts before "/"
    lines = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    assert artifact_sha256(folder) == hashlib.sha256(lines.encode()).hexdigest()
    assert artifact_bytes(folder) == 8


def test_a_folder_as_standard_tools_see_it(folder: Path) -> None:
    tool = "sha256sum" if shutil.which("sha256sum") else "shasum -a 256"
    command = f"find * -type f | LC_ALL=C sort | xargs {tool} | {tool}"
    printed = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == artifact_sha256(folder)


@pytest.mark.parametrize("change", ["content", "name", "more", "less"])
def test_every_change_is_seen(folder: Path, change: str) -> None:
    before = artifact_sha256(folder)
    if change == "content":
        (folder / "b.txt").write_text("c")
    elif change == "name":
        (folder / "b.txt").rename(folder / "c.txt")
    elif change == "more":
        (folder / "empty").write_text("")
    else:
        (folder / "a" / "z").unlink()
    assert artifact_sha256(folder) != before


def test_the_place_of_the_folder_does_not_matter(folder: Path) -> None:
    before = artifact_sha256(folder)
    assert artifact_sha256(folder.rename(folder.with_name("elsewhere"))) == before


def test_nothing_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        artifact_sha256(tmp_path / "missing")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo], ids=["link", "FIFO"])
def test_a_folder_that_holds_more_than_files_has_no_hash(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "a" / "x")
    for measure in (artifact_sha256, artifact_bytes):
        with pytest.raises(BadInput, match=r"a/x: a (link|FIFO)"):
            measure(folder)


def test_a_fifo_has_no_hash_and_blocks_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="a FIFO instead of a file"):
        artifact_sha256(tmp_path / "x")


def test_a_link_planted_where_files_are_made_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "replaced").write_text("private")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / ".x.json.unfinished").symlink_to(tmp_path / "outside")
    write_text(tmp_path / "bundle" / "x.json", "new")
    assert (tmp_path / "bundle" / "x.json").read_text() == "new"
    assert [(path.name, path.read_text()) for path in (tmp_path / "outside").iterdir()] == [("replaced", "private")]
