"""Read a gallery that a bundle's artifacts can search."""

from __future__ import annotations

from pathlib import Path

from compress.bundle.manifest import Manifest
from compress.contracts import BadInput
from compress.gallery.store import Gallery, read_gallery


def read_gallery_of(manifest: Manifest, file: Path) -> Gallery:
    """Read the gallery in ``file``.

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
