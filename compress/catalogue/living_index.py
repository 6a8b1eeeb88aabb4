"""The index beside a gallery of ``compress index``: it follows the gallery without being built again.

``GALLERY.usearch`` or ``GALLERY.usearch_i8``, named by its component. Its keys are made of the photographs' sha256 and
of the artifact, not of the gallery's ids, which change with every photograph that is added or removed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress import plugins
from compress.catalogue.one_writer import alone
from compress.contracts import BadInput, Distance, Index, OpenIndex
from compress.gallery.store import Gallery, read_gallery
from compress.system import sqlite as database


@dataclass(frozen=True)
class IndexUpdate:
    """What was done to an index: images added and removed."""

    file: str
    added: int
    removed: int


def updatable_indexes() -> list[str]:
    """The names of the indexes that can follow a gallery."""
    return [name for name in plugins.names(Index) if plugins.find(Index, name).updatable]


def index_beside(gallery: Path) -> tuple[str, Path] | None:
    """The name and the file of the index beside a gallery, or None."""
    for name in updatable_indexes():
        if (file := _file(gallery, name)).exists():
            return name, file
    return None


def check_index(name: str, gallery: Path, distance: Distance) -> Index:
    """The index of this name, before anything is embedded.

    Raises:
        BadInput: there is none, it cannot be updated or cannot search by ``distance``, or the gallery has another one.
        MissingTool: its library is not installed.
    """
    known = updatable_indexes()
    if name not in known:
        near = plugins.did_you_mean(name, known)
        raise BadInput(f"--index {name}: those that follow a gallery are {', '.join(known)}{near}")
    if (beside := index_beside(gallery)) is not None and beside[0] != name:
        raise BadInput(f"--index {name}: {beside[1]} is there already; remove that file first")
    found = plugins.find(Index, name)()
    if distance not in found.distances:
        able = [each for each in known if distance in plugins.find(Index, each).distances]
        raise BadInput(
            f"--index {name}: cannot search by the gallery's distance {distance}; take {' or '.join(able) or 'none'}"
        )
    found.check(0)
    return found


def update_index(gallery: Path, index: Index) -> IndexUpdate:
    """Add to the index what is new in the gallery and remove what is gone; make it if there is none.

    Raises:
        BadInput: a file is damaged, or somebody else writes.
        MissingTool: a library is not installed, or the disk is full.
    """
    with alone(gallery):
        found = read_gallery(gallery)
        file = _file(gallery, index.component_name())
        keys = _keys(gallery, found)
        added, removed = index.update(file, keys, found.features, found.embedding.distance)
        return IndexUpdate(str(file), added, removed)


def open_index_beside(gallery: Path, found: Gallery) -> tuple[str, OpenIndex] | None:
    """Open the index beside the gallery, which was read as ``found``: its name and itself; None if there is none.

    Raises:
        BadInput: it is damaged, or older than the gallery.
        MissingTool: its library is not installed.
    """
    beside = index_beside(gallery)
    if beside is None:
        return None
    name, file = beside
    index = plugins.find(Index, name)()
    return name, index.open_keys(file, _keys(gallery, found), found.features, found.embedding.distance)


def _file(gallery: Path, name: str) -> Path:
    return gallery.with_name(f"{gallery.name}.{name}")


def _keys(gallery: Path, found: Gallery) -> np.ndarray:
    """uint64 [G]: the same photograph embedded by the same artifact has the same key, copies have their own."""
    try:
        with closing(database.Reader(gallery)) as reader:
            rows = reader.rows("SELECT sha256 FROM sources ORDER BY id")
    except Exception as error:
        raise BadInput(f"{gallery}: is no gallery of 'compress index' ({error}); it has no index beside it") from error
    if len(rows) != len(found.names):
        raise BadInput(f"{gallery}: the gallery is damaged ({len(rows)} sources of {len(found.names)} images)")
    made_by = f"{found.meta.get('artifact_sha256')} {found.meta.get('runtime')}".encode()
    return _numbered([bytes(sha256) for (sha256,) in rows], made_by)


def _numbered(hashes: Sequence[bytes], made_by: bytes) -> np.ndarray:
    seen: Counter[bytes] = Counter()
    keys = []
    for sha256 in hashes:
        digest = hashlib.sha256(b"%b %b %d" % (made_by, sha256, seen[sha256])).digest()
        keys.append(int.from_bytes(digest[:8], "big") >> 1)  # the highest number means "no image" to usearch
        seen[sha256] += 1
    return np.array(keys, np.uint64)
