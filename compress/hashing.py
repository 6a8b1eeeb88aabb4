"""sha256 and size of artifacts, which are files or, for .mlpackage, folders."""

from __future__ import annotations

import hashlib
from pathlib import Path


def artifact_sha256(path: Path) -> str:
    """sha256 of a file's bytes.

    For a folder: sha256 of one line ``<sha256 of the file>  <posix path inside the folder>\\n`` for each file in it,
    sorted by path, as ``find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`` prints it.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{artifact_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def artifact_bytes(path: Path) -> int:
    """Size of a file, or the sum over a folder's files."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in _files(path))


def _files(folder: Path) -> list[Path]:
    return sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.as_posix())
