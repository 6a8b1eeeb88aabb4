"""Artifacts appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder beside ``path``; what the block writes there replaces ``path`` at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        yield written
        if path.is_dir():  # a folder cannot be replaced in one step
            shutil.rmtree(path)
        written.replace(path)
