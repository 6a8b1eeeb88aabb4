"""Make samples from files: stable names, exact copies, and parts of a data set."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, Samples


def stable_id(path: Path, root: Path) -> str:
    """The path below ``root`` with forward slashes, in Unicode's composed form (macOS may store the other one)."""
    name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def first_copies(files: Sequence[Path]) -> np.ndarray:
    """For each file the index of the first one with the same content: int64 [N]. Reads only files of equal size."""
    sizes = [path.stat().st_size if path.is_file() else None for path in files]
    shared = {size for size, count in Counter(sizes).items() if size is not None and count > 1}
    seen: dict[bytes, int] = {}
    first = np.arange(len(files), dtype=np.int64)
    for index, (path, size) in enumerate(zip(files, sizes, strict=True)):
        if size in shared:
            first[index] = seen.setdefault(_sha256(path), index)
    return first


def drop_duplicates(files: Sequence[Path]) -> np.ndarray:
    """Indices of the files that differ in content from every file before them: int64."""
    return np.flatnonzero(first_copies(files) == np.arange(len(files)))


def file_samples(files: Sequence[Path], labels: Sequence[int] | np.ndarray, root: Path) -> Samples:
    return Samples(list(files), np.asarray(labels, dtype=np.int64), tuple(stable_id(path, root) for path in files))


def pick(samples: Samples, rows: np.ndarray) -> Samples:
    """Take the samples at ``rows``."""
    images = samples.images[rows] if isinstance(samples.images, np.ndarray) else [samples.images[row] for row in rows]
    return Samples(images, samples.labels[rows], tuple(samples.ids[row] for row in rows))


def join(first: Samples, second: Samples) -> Samples:
    """Join two sets of samples, both arrays or both files."""
    images = (
        np.concatenate([first.images, second.images])
        if isinstance(first.images, np.ndarray) and isinstance(second.images, np.ndarray)
        else [*first.images, *second.images]
    )
    return Samples(images, np.concatenate([first.labels, second.labels]), first.ids + second.ids)


def array_samples(images: np.ndarray, labels: np.ndarray, split: str) -> Samples:
    """Samples of decoded images with the ids ``split/00000``, ``split/00001``, …"""
    return Samples(images, labels.astype(np.int64), tuple(f"{split}/{number:05d}" for number in range(len(labels))))


def not_found(dataset: str, looked: Sequence[Path], remedy: str) -> BadInput:
    """Make the error for a missing data set. ``remedy`` says how to get it."""
    places = ", ".join(str(path.absolute()) for path in looked)
    return BadInput(f"data.root: {dataset} was not found; looked in {places}; {remedy}")


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:  # decoding will say so, and go on
        return bytes(path)
