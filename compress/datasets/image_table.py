"""Your own images by one table, CSV or Parquet: path, and where they are given label, split and box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from compress.contracts import BadInput, Dataset, GroundTruth, PublishedImage, Samples, Splits, TestShare
from compress.data.splits import stratified_split
from compress.datasets._files import not_found, stable_id
from compress.datasets._table import SUFFIXES, read_table
from compress.plugins import did_you_mean

_COLUMNS = ("path", "label", "split", "box")
_SPLITS = {
    **dict.fromkeys(("train", "validation", "valid", "val"), "train"),
    **dict.fromkeys(("test", "query", "queries"), "test"),
    "gallery": "gallery",
}


@dataclass(frozen=True)
class _Row:
    """One line: ``where`` names it in errors; ``split`` is empty where the table has no such column."""

    where: str
    path: str
    labels: tuple[str, ...]
    split: str
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class ImageTable(Dataset):
    """A table in ``root``: the column ``path``, below ``root``, and ``label``, ``split`` and ``box`` if they are there.

    Without a label the class is the name of the image's folder. ``split`` is train (or validation, which joins it),
    test or gallery; without that column the images are divided at random within each class. Without gallery images each
    test image searches the others. ``box`` is ``left top right bottom`` in pixels of the file, whose EXIF orientation
    then does not count; a picture with several boxes has several lines. An image with several labels is relevant to all
    that share one with it; it trains with the first. Columns of other names are ignored.

    Attributes:
        table: the file, ``.csv`` or ``.parquet``.
        separator: what separates several labels of an image; in Parquet the column may also hold lists.
        test_share: share of each class that is held out, if the table has no column ``split``.
    """

    table: str = "images.csv"
    separator: str = "|"
    test_share: TestShare = 0.2

    def __post_init__(self) -> None:
        if Path(self.table).suffix not in SUFFIXES:
            raise BadInput(f"table: '{self.table}' must be a .csv or a .parquet file")
        if not self.separator:
            raise BadInput("separator: must not be empty")

    def splits(self, seed: int) -> Splits:
        root = Path(self.root).expanduser()
        file = root / self.table
        if not file.is_file():
            raise not_found("image_table", [file], "write a table with the columns path and label there: CLASS/*.jpg")
        rows = list(self._rows(file))
        if not rows:
            raise BadInput(f"{file}: lists no image")
        classes = tuple(sorted({label for row in rows for label in row.labels}))
        if len(classes) < 2:
            raise BadInput(f"{file}: names {len(classes)} classes, two are needed")
        parts = {split: [row for row in rows if row.split == split] for split in ("train", "test", "gallery")}
        if not rows[0].split:
            first = np.array([classes.index(row.labels[0]) for row in rows], dtype=np.int64)
            train, test = stratified_split(first, self.test_share, seed)
            parts = {"train": [rows[i] for i in train], "test": [rows[i] for i in test], "gallery": []}
        if not parts["test"]:
            raise BadInput(f"{file}: no image is for testing; set split to test for some, or raise data.test_share")
        number = {name: label for label, name in enumerate(classes)}

        def samples(part: Sequence[_Row]) -> Samples:
            labels = np.array([number[row.labels[0]] for row in part], dtype=np.int64)
            return Samples([_source(root, row) for row in part], labels, tuple(_name(root, row) for row in part))

        gallery = samples(parts["gallery"]) if parts["gallery"] else None
        found = Splits(classes, samples(parts["train"]), samples(parts["test"]), gallery=gallery)
        if all(len(row.labels) == 1 for row in rows):
            return found
        searched = parts["gallery"] or parts["test"]
        truth = _shared(parts["test"], searched)
        return replace(found, gallery=gallery or found.test, ground_truths={"labels": truth})

    def _rows(self, file: Path) -> Iterator[_Row]:
        for where, cells in read_table(file, _COLUMNS):
            path = str(cells["path"] or "").strip()
            name = PurePosixPath(path)
            if not path or name.is_absolute() or ".." in name.parts or "\0" in path:
                raise BadInput(f"{where}: path {path!r} must be a path below data.root")
            labels = _labels(cells.get("label"), self.separator) or tuple(filter(None, (name.parent.name,)))
            if not labels:
                raise BadInput(f"{where}: {path} is in no folder and has no label")
            given = str(cells["split"] or "").strip().lower() if "split" in cells else None
            if given is not None and given not in _SPLITS:
                near = did_you_mean(given, list(_SPLITS))
                raise BadInput(f"{where}: split {given!r} must be one of {', '.join(_SPLITS)}{near}")
            split = "" if given is None else _SPLITS[given]
            yield _Row(where, name.as_posix(), labels, split, _box(where, cells.get("box")))


def _labels(cell: Any, separator: str) -> tuple[str, ...]:
    """The labels of an image in order, each once."""
    parts = cell if isinstance(cell, list | tuple) else [] if cell is None else str(cell).split(separator)
    return tuple(dict.fromkeys(text for part in parts if (text := str(part).strip())))


def _box(where: str, cell: Any) -> tuple[float, float, float, float] | None:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    parts = list(cell) if isinstance(cell, list | tuple) else str(cell).replace(",", " ").split()
    try:
        left, top, right, bottom = (float(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where}: box {cell!r} must be four numbers: left top right bottom") from error
    if not (0 <= left < right < 1e6 and 0 <= top < bottom < 1e6):
        raise BadInput(f"{where}: box {cell!r} must have left < right and top < bottom, in pixels")
    return left, top, right, bottom


def _source(root: Path, row: _Row) -> Any:
    path = root / row.path
    return path if row.box is None else PublishedImage(path, row.box)


def _name(root: Path, row: _Row) -> str:
    """The image's id: its path and, of a part, its box."""
    name = stable_id(root / row.path, root)
    return name if row.box is None else f"{name}#{','.join(f'{edge:g}' for edge in row.box)}"


def _shared(queries: Sequence[_Row], gallery: Sequence[_Row]) -> GroundTruth:
    """Relevant is what shares a label with the query."""
    members: dict[str, list[int]] = {}
    for place, row in enumerate(gallery):
        for label in row.labels:
            members.setdefault(label, []).append(place)
    nothing = np.array([], dtype=np.int64)
    relevant = [
        np.unique(np.array([place for label in row.labels for place in members.get(label, [])], dtype=np.int64))
        for row in queries
    ]
    return GroundTruth(tuple(relevant), tuple(nothing for _ in queries))
