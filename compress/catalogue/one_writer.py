"""Keep a second command from writing the same file, and the journal beside it, at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from compress.contracts import BadInput


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Keep other commands from writing ``file`` while the block runs; its folder is created.

    Raises:
        BadInput: another command is writing it.
    """
    lock = file.with_name(f".{file.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise BadInput(f"{file}: another command is writing it; wait until it has ended") from None
