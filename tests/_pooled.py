"""A gallery without a network: real digits whose embedding is their pixels, averaged in blocks of 4 x 4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from compress.contracts import EmbeddingSpec, GalleryOptions, ImageSet
from compress.gallery.store import Gallery, read_gallery, write_gallery

CLASSES = tuple(f"digit {digit}" for digit in range(10))
FLOAT = EmbeddingSpec(dim=49)
BINARY = EmbeddingSpec(dim=49, kind="binary", distance="hamming")
ABOUT = {"name": "pooled", "space_id": "0123", "model_sha256": "4567"}


def images(digits: np.ndarray, count: int, first: int = 0) -> ImageSet:
    """``count`` pictures of each digit: uint8 [10 * count, 28, 28, 3]."""
    grey = digits[:, first : first + count].reshape(-1, 28, 28)
    ids = tuple(f"{digit}/{number}.png" for digit in range(10) for number in range(first, first + count))
    return ImageSet(np.repeat(grey[..., None], 3, axis=-1), np.repeat(np.arange(10), count), ids)


def embed(pictures: ImageSet) -> np.ndarray:
    """float32 [N, 49] in [0, 1]."""
    grey = np.asarray(pictures.images)[..., 0].astype(np.float32) / 255
    return np.asarray(grey.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49))


def write(
    path: Path, pictures: ImageSet, spec: EmbeddingSpec = FLOAT, options: GalleryOptions | None = None
) -> Gallery:
    write_gallery(path, pictures, embed(pictures), CLASSES, spec, options or GalleryOptions(), ABOUT)
    return read_gallery(path)


def with_features(gallery: Gallery, features: np.ndarray) -> Gallery:
    return replace(gallery, features=features)
