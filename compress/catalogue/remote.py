"""Photographs at an address, such as ``s3://bucket/folder``, through the file systems that pyarrow has.

Credentials and region come from the environment, as the service's own tools take them; options such as
``?endpoint_override=host:port&scheme=http`` may follow the address.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import SplitResult, urlsplit, urlunsplit

from compress.contracts import BadInput, MissingTool
from compress.datasets._listing import SUFFIXES

_SUFFIXES = SUFFIXES | {".avif", ".heic", ".heif", ".jp2"}


@dataclass(frozen=True)
class RemoteFile:
    """A file of a file system that is not mounted here. It may be sent to other processes.

    Attributes:
        root: the address of the file system: scheme, bucket or host, and options.
        path: the file's path in it.
    """

    root: str
    path: str

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    def read_bytes(self) -> bytes:
        """The content. Raises OSError, with one line."""
        try:
            with _opened(self.root)[0].open_input_file(self.path) as file:
                content: bytes = file.readall()
        except (OSError, ValueError) as error:
            raise OSError(_one_line(error)) from error
        return content

    def __str__(self) -> str:
        return f"{_parts(self.root).scheme}://{self.path}"


def is_address(place: Path | str) -> TypeGuard[str]:
    """Whether this is an address of a file system, not a path of this machine."""
    return isinstance(place, str) and "://" in place


def remote_file(address: str) -> RemoteFile:
    """The file at an address. Raises as ``remote_files``."""
    return RemoteFile(*_located(address))


def remote_files(address: str) -> tuple[Mapping[str, RemoteFile], Mapping[str, str]]:
    """Find the photographs at or below an address, by the suffixes of their names.

    Returns:
        Photographs by name, their path below the address, and why other files are left out, by name.

    Raises:
        BadInput: there is no such file system or folder, or it cannot be read.
        MissingTool: pyarrow is not installed.
    """
    root, start = _located(address)
    from pyarrow import fs

    system = _opened(root)[0]
    try:
        info = system.get_file_info(start)
        if info.type == fs.FileType.File:
            files = [info]
            start = str(PurePosixPath(start).parent)
        else:
            found = system.get_file_info(fs.FileSelector(start, recursive=True))
            files = [each for each in found if each.type == fs.FileType.File]
    except FileNotFoundError as error:
        raise BadInput(f"{shown(address)}: there is no such folder or photograph") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{shown(address)}: cannot be read ({_one_line(error)})") from error
    images, left_out = {}, {}
    for each in files:
        name = PurePosixPath(each.path).relative_to(start)
        if any(part.startswith(".") for part in name.parts):
            left_out[name.as_posix()] = "hidden"
        elif name.suffix.lower() not in _SUFFIXES:
            left_out[name.as_posix()] = "not a photograph by its suffix; files elsewhere are not opened to look"
        else:
            images[name.as_posix()] = RemoteFile(root, each.path)
    return images, left_out


def shown(address: str) -> str:
    """The address without what may be secret: user, password and options."""
    parts = _parts(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _parts(address: str) -> SplitResult:
    return urlsplit(address, allow_fragments=False)  # names may hold "#"


def _located(address: str) -> tuple[str, str]:
    """The address of a file system, and the path in it."""
    parts = _parts(address)
    root = urlunsplit((parts.scheme, parts.netloc, "" if parts.netloc else "/", parts.query, ""))
    return root, str(PurePosixPath(_opened(root)[1], parts.path.lstrip("/")))


@functools.cache
def _opened(root: str) -> tuple[Any, str]:
    """The file system at this address, and the path of the address in it: of a bucket, its name."""
    try:
        from pyarrow import fs
    except ModuleNotFoundError as error:
        raise MissingTool(
            f"{shown(root)}: reading it needs pyarrow, not installed here; install it with: "
            'pip install "compress-retrieval[parquet]"'
        ) from error
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(root)
        return found
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise BadInput(
            f"{shown(root)}: no file system of this kind can be read ({_one_line(error).replace(root, shown(root))}); "
            "give a folder, or an address such as s3://bucket/folder or gs://bucket/folder"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
