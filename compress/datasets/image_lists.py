"""Your own images by lists: training images, queries, gallery, and pairs where classes do not define relevance."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from compress.contracts import BadInput, Dataset, GroundTruth, Samples, Splits
from compress.datasets._files import file_samples, not_found
from compress.system.bounded_reading import read_text

_MOST_BYTES = 2**28  # a million images
_COLUMN_NAMES = frozenset(
    {
        *("path", "file", "file_name", "filename", "image", "image_path", "name"),
        *("query", "gallery", "class", "label", "category", "relevant", "junk"),
    }
)


@dataclass(frozen=True, kw_only=True)
class ImageLists(Dataset):
    """Text or CSV files in ``root``, one image a line: its path below ``root`` and, after a comma, its class.

    Without one the class is the name of the image's folder. Empty lines, lines that begin with # and a first line of
    column names (``path,class`` and the like) are left out.

    Attributes:
        queries: the list of the query images.
        gallery: the list of the gallery images; null: each query searches all others.
        train: the list of the training images; null trains nothing: give a checkpoint or pretrained weights.
        pairs: a list of ``query,image`` lines: for each query the relevant gallery images, or, where a line ends in
            ``,junk``, those that are removed from the ranking. Classes then only name the images. null: an image is
            relevant if its class is the query's.
    """

    queries: str = "queries.txt"
    gallery: str | None = None
    train: str | None = None
    pairs: str | None = None

    def __post_init__(self) -> None:
        if self.pairs is not None and self.gallery is None:
            raise BadInput("pairs: say what is searched, with the option gallery")

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        if not (root / self.queries).is_file():
            raise not_found(
                "image_lists", [root / self.queries], "write one image path a line there, or CLASS/*.jpg,class"
            )
        unlabelled = None if self.pairs is None else "unlabelled"
        listed = {
            "train": [] if self.train is None else _images(root / self.train, None),
            "queries": _images(root / self.queries, unlabelled),
            "gallery": [] if self.gallery is None else _images(root / self.gallery, unlabelled),
        }
        classes = tuple(sorted({label for images in listed.values() for _, label in images}))
        trained = {label for _, label in listed["train"]}
        named = trained if self.train is not None else set(classes)
        if len(named) < 2 and (self.train is not None or self.pairs is None):
            what = "training images" if self.train is not None else "lists"
            raise BadInput(f"data.root: the {what} in {root.absolute()} name {len(named)} classes, two are needed")
        number = {name: label for label, name in enumerate(classes)}

        def samples(part: str) -> Samples:
            images = listed[part]
            return file_samples([root / path for path, _ in images], [number[label] for _, label in images], root)

        queries, gallery = samples("queries"), samples("gallery") if self.gallery is not None else None
        truths = {}
        if self.pairs is not None and gallery is not None:
            truths["pairs"] = _ground_truth(root / self.pairs, queries, gallery)
        return Splits(classes, samples("train"), queries, gallery=gallery, ground_truths=truths)


def _lines(path: Path, most: int) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line, 1 to ``most``, and the line's number.

    Raises:
        BadInput: the file cannot be read, is empty, or a line has more cells.
    """
    text = read_text(path, _MOST_BYTES).removeprefix("\ufeff")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
        lines = [(rows.line_num, [cell.strip() for cell in row]) for row in rows]
    except (ValueError, csv.Error) as error:
        raise BadInput(f"{path}: cannot be read ({error})") from error
    lines = [(number, cells) for number, cells in lines if any(cells) and not cells[0].startswith("#")]
    if lines and {cell.lower() for cell in lines[0][1]} <= _COLUMN_NAMES:
        del lines[0]
    if not lines:
        raise BadInput(f"{path}: lists no image")
    for number, cells in lines:
        if len(cells) > most or not all(cells):
            raise BadInput(f"{path}:{number}: {','.join(cells)!r} must be {most} entries at most, none of them empty")
        yield number, cells


def _images(path: Path, unlabelled: str | None) -> list[tuple[str, str]]:
    """(path below the list's folder, class) of every image of a list.

    Args:
        unlabelled: the class of an image that has none and lies in no folder; None refuses it.
    """
    found = []
    for number, cells in _lines(path, 2):
        name = _below(cells[0], path, number)
        label = cells[1] if len(cells) == 2 else PurePosixPath(name).parent.name or unlabelled
        if label is None:
            raise BadInput(f"{path}:{number}: {name} lies in no folder and has no class; write {name},CLASS")
        found.append((name, label))
    return found


def _below(cell: str, path: Path, number: int) -> str:
    """The path without ``./`` and the like."""
    name = PurePosixPath(cell)
    if name.is_absolute() or ".." in name.parts or "\0" in cell:
        raise BadInput(f"{path}:{number}: {cell} must be a path below data.root")
    return name.as_posix()


def _ground_truth(path: Path, queries: Samples, gallery: Samples) -> GroundTruth:
    asked, indexed = ({name: row for row, name in enumerate(part.ids)} for part in (queries, gallery))
    relevant: list[set[int]] = [set() for _ in queries.ids]
    junk: list[set[int]] = [set() for _ in queries.ids]
    for number, cells in _lines(path, 3):
        if len(cells) < 2 or cells[2:] not in ([], ["junk"]):
            raise BadInput(f"{path}:{number}: {','.join(cells)!r} must be query,image or query,image,junk")
        query, image = (unicodedata.normalize("NFC", _below(cell, path, number)) for cell in cells[:2])
        for name, known, part in ((query, asked, "queries"), (image, indexed, "gallery")):
            if name not in known:
                raise BadInput(f"{path}:{number}: {name} is not in the list of the {part}")
        (junk if cells[2:] else relevant)[asked[query]].add(indexed[image])
    return GroundTruth(
        tuple(np.array(sorted(rows), dtype=np.int64) for rows in relevant),
        tuple(np.array(sorted(rows - answers), dtype=np.int64) for rows, answers in zip(junk, relevant, strict=True)),
    )
