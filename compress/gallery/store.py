"""The gallery file that an app opens offline: names, labels, thumbnails and features in one SQLite file.

``gallery/gallery.sqlite`` holds two tables:

``meta (key TEXT PRIMARY KEY, value TEXT)``, each value being JSON:
    schema        1
    name          the recipe's name
    space_id      the embedding space; features of another space must not be compared with these
    model_sha256  the PyTorch model that made the features
    dim, kind, distance   as ``embedding`` in bundle.json
    dtype         of the feature column: "float32 little-endian", or "bits, most significant first" for kind binary
    images        rows of the table below
    of            images in the data set's gallery; more than ``images`` if ``gallery.max_images`` limited them

``images (id INTEGER PRIMARY KEY, name TEXT UNIQUE, label TEXT, class INTEGER, width INTEGER, height INTEGER,
thumbnail BLOB, feature BLOB)``, ``id`` counting from 0:
    thumbnail     JPEG of ``width`` x ``height`` pixels
    feature       ``dim`` float32 as the model gives them (L2-normalised if the distance is cosine); for kind
                  binary the code of ceil(dim / 8) bytes, bit i being activation i > 0.5 and the first bit the most
                  significant one, unused low bits 0

The same rows give the same bytes with the same versions of SQLite and Pillow. If the recipe names one of the
``indexes``, its file is in the same folder and holds ids of ``images``.
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from compress.contracts import BadInput, Distance, EmbeddingKind, EmbeddingSpec, GalleryOptions, ImageSet
from compress.system import sqlite as database
from validators.metrics import binarize

SCHEMA = 1
GALLERY = Path("gallery/gallery.sqlite")
"""The path of the gallery in a bundle."""

_FLOAT = np.dtype("<f4")
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, label TEXT NOT NULL, class INTEGER NOT NULL,
  width INTEGER NOT NULL, height INTEGER NOT NULL, thumbnail BLOB NOT NULL, feature BLOB NOT NULL
);
"""


@dataclass(frozen=True)
class Gallery:
    """A gallery in memory, without its thumbnails.

    Attributes:
        meta: the values of the table ``meta``.
        names, labels: one per image, G in all.
        features: float32 [G, D]; for kind binary, the bits as 0 and 1.
    """

    meta: Mapping[str, Any]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    features: np.ndarray

    @property
    def embedding(self) -> EmbeddingSpec:
        return EmbeddingSpec(**{key: self.meta[key] for key in ("dim", "kind", "distance")})


def chosen_rows(count: int, options: GalleryOptions) -> np.ndarray:
    """The indices, int64, of the images that the bundle's gallery holds, of ``count`` in the data set's gallery."""
    kept = min(count, options.max_images)
    return np.arange(kept) * count // kept


def write_gallery(
    path: Path,
    images: ImageSet,
    features: np.ndarray,
    class_names: tuple[str, ...],
    embedding: EmbeddingSpec,
    options: GalleryOptions,
    about: Mapping[str, Any],
) -> None:
    """Write the gallery file atomically.

    Args:
        images: the whole gallery, G images.
        features: float32 [G, D], the PyTorch model's; for kind binary, activations in [0, 1].
        about: further keys of ``meta``: name, space_id, model_sha256.
    """
    rows = chosen_rows(len(images), options)
    meta = {
        "schema": SCHEMA,
        **about,
        **asdict(embedding),
        "dtype": dtype_of(embedding.kind),
        "images": len(rows),
        "of": len(images),
    }
    packed = pack_features(features[rows], embedding.kind)
    with database.written(path, TABLES) as file:
        file.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(meta[key])) for key in sorted(meta)])
        file.executemany(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _rows(images, rows, packed, class_names, options)
        )


def _rows(
    images: ImageSet, rows: np.ndarray, packed: np.ndarray, class_names: tuple[str, ...], options: GalleryOptions
) -> Iterator[tuple[Any, ...]]:
    for number, row in enumerate(rows.tolist()):
        label = int(images.labels[row])
        thumbnail = make_thumbnail(np.asarray(images.images[row : row + 1])[0], options.thumbnail)
        code = packed[number].tobytes()
        yield number, images.ids[row], class_names[label], label, *thumbnail, code


def make_thumbnail(pixels: np.ndarray, longest: int) -> tuple[int, int, bytes]:
    """Make the JPEG of uint8 [H, W, 3] with at most ``longest`` pixels a side: its width, its height, its bytes."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((longest, longest))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return *picture.size, file.getvalue()


def pack_features(features: np.ndarray, kind: EmbeddingKind) -> np.ndarray:
    """Make the column ``feature`` of an artifact's embeddings, float32 [n, D]: one row of bytes for each."""
    return binarize(features) if kind == "binary" else features.astype(_FLOAT).view(np.uint8)


def dtype_of(kind: EmbeddingKind) -> str:
    """The value of ``dtype`` in ``meta``."""
    return "bits, most significant first" if kind == "binary" else "float32 little-endian"


def read_gallery(path: Path) -> Gallery:
    """Read a gallery file, without its thumbnails.

    Raises:
        BadInput: it is missing, damaged or of a newer schema; the message names it.
    """
    if not path.exists():
        raise BadInput(f"{path}: there is no such gallery; make it with 'compress run' or 'compress index'")
    try:
        with closing(database.Reader(path)) as file:
            meta = file.values("meta")
            if meta["schema"] > SCHEMA:
                raise BadInput(f"{path}: schema {meta['schema']} is newer than {SCHEMA}; upgrade Compress")
            rows = file.rows("SELECT id, name, label, feature FROM images ORDER BY id")
        if len(rows) != meta["images"] or [row[0] for row in rows] != list(range(len(rows))) or not rows:
            raise ValueError(f"ids are not 0 to {meta['images'] - 1}")
        for row in rows:
            if [type(cell) for cell in row] != [int, str, str, bytes]:
                raise ValueError(f"the row of image {row[0]} holds values of other types")
        if meta["kind"] not in get_args(EmbeddingKind) or meta["distance"] not in get_args(Distance):
            raise ValueError(f"kind {meta['kind']!r}, distance {meta['distance']!r}")
        features = _unpacked([row[3] for row in rows], meta)
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: the gallery is damaged ({error})") from error
    return Gallery(meta, tuple(row[1] for row in rows), tuple(row[2] for row in rows), features)


def read_thumbnail(path: Path, number: int) -> bytes | None:
    """Read the JPEG of image ``number`` of a gallery; None if it has no such image.

    Raises:
        BadInput: the gallery is damaged.
    """
    try:
        with closing(database.Reader(path)) as file:
            rows = file.rows("SELECT thumbnail FROM images WHERE id = ?", (number,))
        return bytes(rows[0][0]) if rows else None
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        raise BadInput(f"{path}: the gallery is damaged ({error})") from error


def _unpacked(blobs: list[bytes], meta: Mapping[str, Any]) -> np.ndarray:
    dim, binary = meta["dim"], meta["kind"] == "binary"
    size = (dim + 7) // 8 if binary else dim * _FLOAT.itemsize
    if type(dim) is not int or dim < 1:
        raise ValueError(f"dim {dim!r}")
    wrong = [number for number, blob in enumerate(blobs) if len(blob) != size]
    if wrong:
        raise ValueError(f"the feature of image {wrong[0]} has {len(blobs[wrong[0]])} bytes instead of {size}")
    joined = b"".join(blobs)
    if binary:
        bits = np.unpackbits(np.frombuffer(joined, np.uint8).reshape(-1, size), axis=1, bitorder="big")
        return bits[:, :dim].astype(np.float32)
    features = np.frombuffer(joined, _FLOAT).reshape(-1, dim).astype(np.float32)
    if not np.isfinite(features).all():
        raise ValueError("a feature holds NaN or infinity")
    return features
