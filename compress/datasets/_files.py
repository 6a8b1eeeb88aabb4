"""Find image files and class folders, in an order that is the same on every system."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, Samples

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def stable_id(path: Path, root: Path) -> str:
    """The path below ``root`` with forward slashes, in Unicode's composed form (macOS may store the other one)."""
    name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def find_files(folder: Path) -> list[Path]:
    """Every file at or below ``folder``, sorted by ``stable_id``; hidden files and folders are left out.

    Links to folders are followed, but no folder is entered from inside itself.
    """
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(parent)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not (Path(parent, name).is_symlink() and _contains(os.path.realpath(Path(parent, name)), here))
        ]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: stable_id(path, folder))


def find_images(folder: Path) -> list[Path]:
    return [path for path in find_files(folder) if path.suffix.lower() in SUFFIXES]


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in ``folder``, sorted by name; hidden ones are left out."""
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: stable_id(path, folder))


def class_images(folder: Path) -> list[Path]:
    """The images of one class.

    Raises:
        BadInput: there are none; the message says what the folder holds instead.
    """
    images = find_images(folder)
    if not images:
        others = Counter(path.suffix.lower() or path.name for path in find_files(folder))
        instead = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3)) or "nothing"
        raise BadInput(
            f"data.root: class folder {folder.absolute()} holds no image ({' '.join(sorted(SUFFIXES))}) but {instead}; "
            "put images there or remove the folder"
        )
    return images


def drop_duplicates(files: Sequence[Path]) -> np.ndarray:
    """Indices of the files that differ in content from every file before them. Reads only files of equal size."""
    sizes = [path.stat().st_size if path.exists() else None for path in files]
    shared = {size for size, count in Counter(sizes).items() if size is not None and count > 1}
    seen: set[bytes] = set()
    kept = []
    for index, (path, size) in enumerate(zip(files, sizes, strict=True)):
        if size in shared:
            digest = _sha256(path)
            if digest in seen:
                continue
            seen.add(digest)
        kept.append(index)
    return np.array(kept, dtype=np.int64)


def file_samples(files: Sequence[Path], labels: Sequence[int] | np.ndarray, root: Path) -> Samples:
    return Samples(list(files), np.asarray(labels, dtype=np.int64), tuple(stable_id(path, root) for path in files))


def pick(samples: Samples, rows: np.ndarray) -> Samples:
    """The samples at ``rows``."""
    images = samples.images[rows] if isinstance(samples.images, np.ndarray) else [samples.images[row] for row in rows]
    return Samples(images, samples.labels[rows], tuple(samples.ids[row] for row in rows))


def join(first: Samples, second: Samples) -> Samples:
    """Both, one after the other; arrays with arrays, or files with files."""
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
    """The error for a data set that is not there. ``remedy`` says how to get it."""
    places = ", ".join(str(path.absolute()) for path in looked)
    return BadInput(f"data.root: {dataset} was not found; looked in {places}; {remedy}")


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except PermissionError:  # decoding will say so, and go on
        return bytes(path)


def _contains(outer: str, inner: str) -> bool:
    return Path(inner).is_relative_to(outer)
