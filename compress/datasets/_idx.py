"""The IDX files of MNIST and the data sets that share its form (format: yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from compress.contracts import BadInput, Samples
from compress.datasets._files import array_samples
from compress.datasets._listing import find_files

_UNSIGNED_BYTE = 0x08
_MOST_BYTES = 2**28  # MNIST's training images have 47 MB


def find_idx_folders(root: Path) -> list[Path]:
    """The folders at or below ``root`` that hold all four files, nearest first."""
    names_in: dict[Path, set[str]] = {}
    for path in find_files(root):
        names_in.setdefault(path.parent, set()).add(path.name)
    complete = [
        folder
        for folder, names in names_in.items()
        if all(not names.isdisjoint(_file_names(split, kind)) for split in ("train", "t10k") for kind in _DIMENSIONS)
    ]
    return sorted(complete, key=lambda folder: (len(folder.parts), folder))


def read_split(folder: Path, split: str, classes: Sequence[str]) -> Samples:
    """One split: images uint8 [N, H, W].

    Args:
        folder: holds the files, gzipped or not.
        split: ``train`` or ``t10k``.
        classes: the names of labels 0, 1, ….

    Raises:
        BadInput: a file is damaged, or labels and images do not fit each other.
    """
    images_path, labels_path = (_file(folder, split, kind) for kind in ("images", "labels"))
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise BadInput(f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path.name}")
    if not len(labels):
        raise BadInput(f"{labels_path}: no labels")
    if not images.size:
        raise BadInput(f"{images_path}: images of {images.shape[1]} x {images.shape[2]} pixels; get the file again")
    if labels.max() >= len(classes):
        raise BadInput(f"{labels_path}: label {labels.max()}, expected 0 to {len(classes) - 1}")
    return array_samples(images, labels, "test" if split == "t10k" else split)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not: uint8 with that many dimensions.

    Raises:
        BadInput: the magic number, the sizes or the length are wrong. No more is unpacked than the header promises.
    """
    header = 4 + 4 * dimensions
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            start = file.read(header)
            if len(start) < header:
                raise BadInput(f"{path}: {len(start)} bytes, too short for an IDX file; get the file again")
            magic, *shape = struct.unpack(f">{1 + dimensions}I", start)
            expected = _UNSIGNED_BYTE << 8 | dimensions
            if magic != expected:
                raise BadInput(
                    f"{path}: magic number 0x{magic:08x}, expected 0x{expected:08x} (IDX, {dimensions} dimensions)"
                )
            size = prod(shape)
            content = file.read(min(size, _MOST_BYTES) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: cannot be read ({error}); get the file again") from error
    if len(content) != size:
        more = "" if len(content) <= size else " or more"
        raise BadInput(
            f"{path}: {len(content)} bytes of data{more}, but its header {tuple(shape)} promises {size}; "
            "get the file again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


_DIMENSIONS = {"images": 3, "labels": 1}


def _file_names(split: str, kind: str) -> list[str]:
    stem, ending = f"{split}-{kind}", f"idx{_DIMENSIONS[kind]}-ubyte"
    return [f"{stem}{joint}{ending}{suffix}" for suffix in ("", ".gz") for joint in "-."]


def _file(folder: Path, split: str, kind: str) -> Path:
    return next(path for name in _file_names(split, kind) if (path := folder / name).is_file())
