"""Find a user's photographs and their labels, under names that stay the same on every machine."""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from compress.catalogue.remote import RemoteFile, is_address, remote_file, remote_files, shown
from compress.contracts import BadInput
from compress.datasets._files import stable_id
from compress.datasets._listing import find_images
from compress.datasets._table import SUFFIXES, read_table

FOLDERS, NONE = "folders", "none"
"""Where labels come from, besides a CSV file."""


@dataclass(frozen=True)
class Photograph:
    """A file that is to be embedded.

    Attributes:
        name: its path below the folder that was given, with forward slashes; if several places were given, that
            folder's name comes first. Of a table's photograph, its path as the table says.
        label: empty if there is none.
    """

    name: str
    path: Path | RemoteFile
    label: str


@dataclass(frozen=True)
class Photographs:
    """What was found.

    Attributes:
        found: sorted by name.
        left_out: other files and folders, by name, with the reason.
    """

    found: tuple[Photograph, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Place:
    """What one place holds: photographs by name, labels that a table gives, and what is left out."""

    files: Mapping[str, Path | RemoteFile]
    left_out: Mapping[str, str]
    labels: Mapping[str, str] | None = None


def find_photographs(places: Sequence[Path | str], labels: str = FOLDERS) -> Photographs:
    """Find every photograph at or below ``places``.

    Args:
        places: folders, which are searched with all folders below; files; addresses such as ``s3://bucket/folder``;
            and tables, .csv or .parquet, whose column ``path`` holds paths, from the table's folder, or addresses.
        labels: ``folders`` takes a table's column ``label``, otherwise the path of the folder that holds the
            photograph, below the folder that was given; ``none`` takes no labels; otherwise a CSV file with the columns
            path and label, paths being names.

    Raises:
        BadInput: a place does not exist, there is no photograph, two have one name, or a table is unusable.
        MissingTool: pyarrow is needed, and is not installed.
    """
    files: dict[str, Path | RemoteFile] = {}
    left_out: dict[str, str] = {}
    given: dict[str, str] = {}
    for place in places:
        prefix, found = _found_at(place)
        prefix = prefix if len(places) > 1 else ""
        for name, file in found.files.items():
            if prefix + name in files:
                other = files[prefix + name]
                raise BadInput(f"{file}: has the same name as {other} ({prefix + name}); rename one of the folders")
            files[prefix + name] = file
        left_out.update((prefix + name, reason) for name, reason in found.left_out.items())
        for name in found.files if found.labels is None else ():
            given[prefix + name] = (prefix + name).rpartition("/")[0]
        given.update(found.labels or {})
    if not files:
        everything = ", ".join(shown(place) if is_address(place) else str(place) for place in places)
        raise BadInput(f"{everything}: holds no photographs ({len(left_out)} other files)")
    label_of = given if labels == FOLDERS else {} if labels == NONE else _read_labels(labels)
    for name in label_of.keys() - files.keys():
        left_out[name] = f"listed in {labels}, but there is no such photograph"
    found_photographs = tuple(Photograph(name, files[name], label_of.get(name, "")) for name in sorted(files))
    return Photographs(found_photographs, dict(sorted(left_out.items())))


def _found_at(place: Path | str) -> tuple[str, _Place]:
    """What a place holds, and what comes before its names if there are several places."""
    if is_address(place):
        address = shown(place).rstrip("/")
        if address.lower().endswith(SUFFIXES):
            raise BadInput(f"{address}: a table must be on this machine; its paths may be addresses")
        remote, others = remote_files(place)
        last = address.rpartition("/")[2]
        return "" if list(remote) == [last] else f"{last}/", _Place(remote, others)
    path = Path(place)
    if not path.exists():
        raise BadInput(f"{path}: there is no such folder or photograph")
    if path.is_dir():
        listing = find_images(path)
        images = {stable_id(each, path): each for each in listing.images}
        return f"{path.resolve().name}/", _Place(
            images, {stable_id(each, path): reason for each, reason in listing.left_out.items()}
        )
    if path.suffix.lower() in SUFFIXES:
        return "", _listed(path)
    return "", _Place({stable_id(path, path.parent): path}, {})


def _listed(table: Path) -> _Place:
    """The photographs that a table lists."""
    files: dict[str, Path | RemoteFile] = {}
    left_out: dict[str, str] = {}
    labels: dict[str, str] = {}
    labelled = False
    for where, cells in read_table(table, ("path", "label")):
        text = str(cells["path"] or "").strip()
        if not text or "\0" in text:
            raise BadInput(f"{where}: path {text!r} must be the path or the address of a photograph")
        name = shown(text) if is_address(text) else unicodedata.normalize("NFC", PurePosixPath(text).as_posix())
        label = str(cells.get("label") or "").strip()
        labelled |= "label" in cells
        if labels.setdefault(name, label) != label:
            raise BadInput(f"{where}: {name} is listed twice, as '{labels[name]}' and as '{label}'; give it one label")
        file = remote_file(text) if is_address(text) else table.parent / text
        if isinstance(file, Path) and not file.is_file():
            left_out[name] = f"listed in {table}, but there is no such photograph"
        else:
            files[name] = file
    known = {name: label for name, label in labels.items() if name in files}
    return _Place(files, left_out, known if labelled else None)


def file_hashes(photographs: Sequence[Photograph]) -> list[bytes]:
    """The sha256 of each photograph's file; empty if it cannot be read."""
    with ThreadPoolExecutor(thread_name_prefix="hash") as pool:
        return list(pool.map(_sha256, photographs))


def _sha256(photograph: Photograph) -> bytes:
    try:
        if isinstance(photograph.path, RemoteFile):
            return hashlib.sha256(photograph.path.read_bytes()).digest()
        with photograph.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _read_labels(labels: str) -> dict[str, str]:
    try:
        with Path(labels).open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"path", "label"} - set(table.fieldnames or ())
            if missing:
                raise BadInput(f"--labels {labels}: no column '{sorted(missing)[0]}'; give a CSV file with path,label")
            return {row["path"].removeprefix("./"): row["label"] or "" for row in table}
    except FileNotFoundError:
        raise BadInput(f"--labels {labels}: give folders, none, or an existing CSV file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"--labels {labels}: cannot be read as CSV ({error})") from error
