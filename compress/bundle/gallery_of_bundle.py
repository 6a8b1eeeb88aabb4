"""Read a gallery that a bundle's artifacts can search, and make embeddings that search it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.bundle.manifest import Manifest
from compress.contracts import BadInput
from compress.gallery.store import Gallery, read_gallery


def read_gallery_of(manifest: Manifest, file: Path) -> Gallery:
    """Read the gallery in ``file``, of the bundle's own embedding space.

    Raises:
        BadInput: it is missing or damaged, or its features are of another embedding space than the bundle's.
    """
    gallery = read_gallery(file)
    space = manifest.embedding.space_id
    if gallery.meta.get("space_id") != space or gallery.embedding != manifest.embedding.spec:
        raise BadInput(
            f"{file}: made in the embedding space {gallery.meta.get('space_id')}, the bundle's is {space}; "
            "take a gallery of the same model, or make one with 'compress index'"
        )
    return gallery


def read_searchable(manifest: Manifest, file: Path) -> Gallery:
    """As ``read_gallery_of``, or a gallery of the older model that the bundle's was trained to search.

    Raises:
        BadInput: as ``read_gallery_of``; the bundle's gate on the older model's gallery failed.
    """
    gallery, upgrade = read_gallery(file), manifest.upgrade
    space, embedding = gallery.meta.get("space_id"), manifest.embedding
    if upgrade is None or space != upgrade.space_id or space == embedding.space_id:
        return read_gallery_of(manifest, file)
    if (gallery.embedding.dim, gallery.embedding.distance) != (upgrade.dim, embedding.distance):
        raise BadInput(f"{file}: the gallery is damaged (its embeddings are not those of its space {space})")
    if not upgrade.passed:
        raise BadInput(
            f"{file}: an older model made it, in which this one finds less ({upgrade.gates[0].name} failed); make the "
            "gallery again with 'compress index'"
        )
    return gallery


def fitted(embedding: np.ndarray, gallery: Gallery) -> np.ndarray:
    """The part of embeddings float32 [N, D] that searches the gallery: of an older model's, the first values [N, d]."""
    dim, distance = gallery.embedding.dim, gallery.embedding.distance
    if embedding.ndim != 2 or embedding.shape[1] <= dim:
        return embedding
    first = embedding[:, :dim]
    if distance != "cosine":
        return first
    lengths = np.linalg.norm(first, axis=1, keepdims=True)
    scaled: np.ndarray = first / np.where(lengths > 0, lengths, 1)
    return scaled
