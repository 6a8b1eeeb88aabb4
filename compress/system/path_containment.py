"""Check that a path is a regular file inside a folder and is reached without links, for reading and for writing.

Bundles are untrusted. A link in one could make Compress read or overwrite a private file, and opening a FIFO or a
device may block for ever. Hard links cannot be told from files.

A runtime's child process imports this file in an interpreter that may have NumPy alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePath, PurePosixPath

from compress.contracts.errors import BadInput

MAX_ENTRIES = 100_000
"""Most files and folders in a bundle; a bundle with more is refused."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a file",
}


def relative(name: str) -> str:
    """Return ``name`` if it is a relative path that stays inside its folder.

    Raises:
        ValueError: it is not.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name[:200]!r} lies outside the bundle")
    return name


def file_inside(folder: Path, name: str | PurePath) -> Path:
    """Return ``folder / name``, a regular file reached without links; ``folder`` itself may be a link.

    Raises:
        BadInput: it is missing or not a regular file; the message says which.
    """
    return _reached(folder, name, stat.S_IFREG)


def folder_inside(folder: Path, name: str | PurePath) -> Path:
    """Return ``folder / name``, a folder reached without links. Raises as ``file_inside`` does."""
    return _reached(folder, name, stat.S_IFDIR)


def is_file_inside(folder: Path, name: str | PurePath) -> bool:
    """Whether ``file_inside`` would return it."""
    try:
        file_inside(folder, name)
    except BadInput:
        return False
    return True


def require_plain(folder: Path) -> None:
    """Refuse a folder that holds anything other than regular files and folders.

    Raises:
        BadInput: names the first link, FIFO, socket or device, or says that there are too many entries.
    """
    for _ in plain_files(folder):
        pass


def plain_files(folder: Path) -> Iterator[Path]:
    """Every file below ``folder``, in no order. Raises as ``require_plain`` does."""
    waiting, seen = [folder], 0
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    seen += 1
                    kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
                    if kind not in (stat.S_IFREG, stat.S_IFDIR):
                        raise BadInput(f"{entry.path}: {_kind(kind)}; put a file there, or remove it")
                    if seen > MAX_ENTRIES:
                        raise BadInput(f"{folder}: holds more than {MAX_ENTRIES:,} files; remove what is not its own")
                    if kind == stat.S_IFDIR:
                        waiting.append(Path(entry.path))
                    else:
                        yield Path(entry.path)
        except OSError as error:
            raise BadInput(f"{here}: cannot be read ({error.strerror or error})") from error


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading; links are followed. Never waits, as opening a FIFO would.

    Raises:
        OSError: there is no such file, or it is something else.
    """
    _require_regular(path.stat().st_mode)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(number).st_mode)  # between the two calls it may have been replaced
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _reached(folder: Path, name: str | PurePath, wanted: int) -> Path:
    path = folder / name
    try:
        steps = PurePosixPath(relative(str(name))).parts
        here = folder
        for number, step in enumerate(steps, start=1):
            here = here / step
            kind = stat.S_IFMT(here.lstat().st_mode)
            expected = wanted if number == len(steps) else stat.S_IFDIR
            if kind != expected:
                raise BadInput(f"{here}: {_kind(kind)} instead of {_kind(expected)}")
    except ValueError as error:
        raise BadInput(f"{folder}: {error}") from error
    except FileNotFoundError as error:
        raise BadInput(f"{path}: missing") from error
    except OSError as error:
        raise BadInput(f"{str(path)[:200]}: cannot be read ({error.strerror or error})") from error
    return path


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(f"{_kind(stat.S_IFMT(mode))} instead of a file")


def _kind(kind: int) -> str:
    return _KINDS.get(kind, "no file")
