"""Hash and measure files and .mlpackage folders, and write files atomically.

A runtime's child process imports this file in an interpreter that may have NumPy alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compress.contracts.errors import BadInput
from compress.system.path_containment import open_file, plain_files


def artifact_sha256(path: Path) -> str:
    """sha256 of a file's bytes.

    For a folder: sha256 of one line ``<sha256 of the file>  <posix path inside the folder>\\n`` for each file in it,
    sorted by path, as ``find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`` prints it.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        OSError: it is a FIFO, a socket or a device.
        BadInput: the folder holds one, or a link, whose content no hash would cover.
    """
    if not path.is_dir():
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{artifact_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def artifact_bytes(path: Path) -> int:
    """Size of a file, or the sum over a folder's files."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in _files(path))


def _files(folder: Path) -> list[Path]:
    return sorted(plain_files(folder), key=lambda file: file.as_posix())


def json_sha256(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically. NaN and infinity are not JSON: the caller turns them into null."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Delete a file, or a folder with its content. A link is deleted itself, not its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file or folder so that it appears at ``path`` whole or not at all.

    The block writes to the path it is given, which has the same name in a hidden folder beside ``path``. When the block
    ends without an error, that becomes ``path``; until then an older file or folder stays. The parent folder is
    created. The hidden folder's name follows from ``path``, so that the next write removes what a killed one left.

    Raises:
        BadInput: ``path`` cannot be written, or is a folder where a file is to be written or the other way round.
    """
    hidden = path.with_name(f".{path.name}.unfinished")
    unfinished, replaced = hidden / path.name, hidden / f"replaced.{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if hidden.is_symlink():  # made by somebody else, to have files moved or written elsewhere
            hidden.unlink()
        if replaced.exists() and not path.exists():  # killed between the two renames below
            replaced.rename(path)
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
    except OSError as error:
        raise BadInput(f"{path}: cannot be written here ({error.strerror}); choose another path") from error
    try:
        yield unfinished
        if path.exists() and path.is_dir() != unfinished.is_dir():
            found, expected = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise BadInput(f"{path}: is a {found}, but a {expected} is to be written; delete it or choose another path")
        if path.is_dir():  # rename(2) does not replace a folder that has content
            path.rename(replaced)
        unfinished.replace(path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
