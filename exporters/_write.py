"""Artifacts appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.contracts import BadInput


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A path of the same name in a hidden folder beside ``path``; what the block writes there becomes ``path``.

    The hidden folder's name follows from ``path``, so that what a killed export leaves behind is cleared by the next.

    Raises:
        BadInput: ``path`` cannot be written, or is a folder where a file belongs or the other way round.
    """
    hidden = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
    except OSError as error:
        raise BadInput(f"{path}: cannot be written here ({error.strerror}); choose another path") from error
    try:
        written = hidden / path.name
        yield written
        if path.exists() and path.is_dir() != written.is_dir():
            kind = "folder" if path.is_dir() else "file"
            raise BadInput(f"{path}: is a {kind} that is no such artifact; delete it or choose another path")
        if path.is_dir():  # rename(2) does not replace a folder that has content
            path.rename(hidden / "replaced")
        written.replace(path)
    finally:
        shutil.rmtree(hidden)
