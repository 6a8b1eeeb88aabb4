"""Files: their sha256 and size, also of .mlpackage folders, and writes that happen whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


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


def json_sha256(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically. NaN and infinity are not JSON: the caller turns them into null."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
