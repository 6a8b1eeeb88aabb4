"""Find a user's photographs and their labels, under names that stay the same on every machine."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from compress.contracts import BadInput
from compress.datasets._files import stable_id
from compress.datasets._listing import find_images

FOLDERS, NONE = "folders", "none"
"""Where labels come from, besides a CSV file."""


@dataclass(frozen=True)
class Photograph:
    """A file that is to be embedded.

    Attributes:
        name: its path below the folder that was given, with forward slashes; if several folders were given, that
            folder's name comes first.
        label: empty if there is none.
    """

    name: str
    path: Path
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


def find_photographs(places: Sequence[Path], labels: str = FOLDERS) -> Photographs:
    """Find every photograph at or below ``places``.

    Args:
        places: folders, which are searched with all folders below, and files.
        labels: ``folders`` takes the path of the folder that holds the photograph, below the folder that was given;
            ``none`` takes no labels; otherwise a CSV file with the columns path and label, paths being names.

    Raises:
        BadInput: a place does not exist, there is no photograph, two have one name, or the CSV file is unusable.
    """
    several = len(places) > 1
    files: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for place in places:
        if not place.exists():
            raise BadInput(f"{place}: there is no such folder or photograph")
        prefix = f"{place.resolve().name}/" if several and place.is_dir() else ""
        listing = find_images(place) if place.is_dir() else None
        root = place if listing else place.parent
        for path in listing.images if listing else [place]:
            name = prefix + stable_id(path, root)
            if name in files:
                raise BadInput(f"{path}: has the same name as {files[name]} ({name}); rename one of the folders")
            files[name] = path
        for path, reason in (listing.left_out if listing else {}).items():
            left_out[prefix + stable_id(path, root)] = reason
    if not files:
        raise BadInput(f"{', '.join(map(str, places))}: holds no photographs ({len(left_out)} other files)")
    label_of = _labels(files, labels)
    for name in label_of.keys() - files.keys():
        left_out[name] = f"listed in {labels}, but there is no such photograph"
    found = tuple(Photograph(name, files[name], label_of.get(name, "")) for name in sorted(files))
    return Photographs(found, dict(sorted(left_out.items())))


def file_hashes(photographs: Sequence[Photograph]) -> list[bytes]:
    """The sha256 of each photograph's file; empty if it cannot be read."""
    with ThreadPoolExecutor(thread_name_prefix="hash") as pool:
        return list(pool.map(_sha256, photographs))


def _sha256(photograph: Photograph) -> bytes:
    try:
        with photograph.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _labels(files: Mapping[str, Path], labels: str) -> dict[str, str]:
    if labels == NONE:
        return {}
    if labels == FOLDERS:
        return {name: name.rpartition("/")[0] for name in files}
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
