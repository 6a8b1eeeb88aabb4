"""Photographs without labels, for calibration and for what a teacher teaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import BadInput, Dataset, ImageSet, Preprocess
from compress.data.decode import ImageRows, decode_on_demand, decode_to_cache
from compress.data.formats import not_a_photograph

NO_LABEL = -1


@dataclass(frozen=True)
class Unlabelled:
    """What a folder holds.

    Attributes:
        images: None if the recipe names no folder.
        digests: uint8 [U, 32], sha256 of each image's pixels.
        skipped: files that were left out, with the reason.
    """

    images: ImageSet | None = None
    digests: np.ndarray = field(default_factory=lambda: np.empty((0, 32), np.uint8))
    skipped: dict[str, str] = field(default_factory=dict)


def read_unlabelled(
    dataset: Dataset, held_out: set[bytes], cache_dir: Path, workers: int, *, progress: bool = False
) -> Unlabelled:
    """Decode the photographs below ``dataset.unlabelled``; ids begin with ``unlabelled/``.

    Args:
        held_out: sha256 of the pixels of the images that test or choose; their copies are left out, because a network
            must not train on what it is tested with.

    Raises:
        BadInput: the folder is missing or holds no photograph, or too many cannot be decoded.
    """
    if dataset.unlabelled is None:
        return Unlabelled()
    root = Path(dataset.unlabelled).expanduser()
    where = f"data.unlabelled={dataset.unlabelled}"
    if not root.is_dir():
        raise BadInput(f"{where}: no such folder (looked at {root.absolute()})")
    listed = [path for path in sorted(root.rglob("*")) if path.is_file() and not _hidden(path.relative_to(root))]
    reasons = {path: not_a_photograph(path) for path in listed}
    files = [path for path in listed if reasons[path] is None]
    ids = tuple(f"unlabelled/{path.relative_to(root).as_posix()}" for path in files)
    skipped = {f"unlabelled/{p.relative_to(root).as_posix()}": why for p, why in reasons.items() if why is not None}
    if not files:
        raise BadInput(f"{where}: holds no photograph; name a folder of photographs, or remove this option")
    preprocess = Preprocess(size=dataset.size, crop=dataset.crop, mean=dataset.mean, std=dataset.std)
    if dataset.cache == "none":
        decoded = decode_on_demand(files, preprocess, workers=workers, progress=progress)
    else:
        decoded = decode_to_cache(files, ids, preprocess, cache_dir, workers=workers, progress=progress)
    if len(decoded.skipped) > ceil(dataset.max_skipped_share * len(files)):
        row, reason = next(iter(decoded.skipped.items()))
        raise BadInput(
            f"{where}: {len(decoded.skipped)} of {len(files)} photographs cannot be decoded, more than "
            f"data.max_skipped_share={dataset.max_skipped_share} allows ({ids[row]}: {reason})"
        )
    skipped |= {ids[row]: reason for row, reason in decoded.skipped.items()}
    kept = []
    for row in range(len(files)):
        if row in decoded.skipped:
            continue
        if decoded.digests[row].tobytes() in held_out:
            skipped[ids[row]] = "a copy of a held-out image"
        else:
            kept.append(row)
    if not kept:
        raise BadInput(f"{where}: holds only copies of held-out images; name other photographs")
    rows = np.array(kept, dtype=np.int64)
    labels = np.full(len(rows), NO_LABEL, dtype=np.int64)
    images = ImageSet(ImageRows(decoded.images, rows), labels, tuple(ids[row] for row in rows))
    return Unlabelled(images, decoded.digests[rows], skipped)


def with_unlabelled(train: ImageSet, unlabelled: ImageSet) -> ImageSet:
    """The training images followed by those without labels."""
    labels = np.concatenate([train.labels, unlabelled.labels])
    return ImageSet(_Joined(train, unlabelled), labels, (*train.ids, *unlabelled.ids))


class _Joined:
    """The images of two sets as one, read on access."""

    def __init__(self, first: ImageSet, second: ImageSet) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        rows = np.arange(len(self))[index]
        early = rows < len(self._first)
        if rows.ndim == 0:
            return np.asarray(self._first.images[rows] if early else self._second.images[rows - len(self._first)])
        own, further = self._first.images[rows[early]], self._second.images[rows[~early] - len(self._first)]
        found = np.empty((len(rows), *own.shape[1:]), np.uint8)
        found[early], found[~early] = own, further
        return found


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
