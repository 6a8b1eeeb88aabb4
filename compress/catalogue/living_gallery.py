"""Keep a gallery file up to date with a user's photographs: only new and changed ones are embedded.

The file is a gallery as ``compress.gallery.store`` describes it, with its images sorted by name, and

``sources (id INTEGER PRIMARY KEY, sha256 BLOB)``: of each image the sha256 of the photograph's file.

``meta`` also names what made the features: ``artifact`` (file name), ``artifact_sha256`` and ``runtime``. ``class`` is
the label's place among the sorted labels of the file, -1 without a label. An update gives the same bytes as a new index
of the same photographs, and appears whole: whoever reads the file meanwhile sees the one before.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.catalogue.embedding import Engine, Undecodable, embed_photographs
from compress.catalogue.journal import Finished, Journal, open_journal
from compress.catalogue.one_writer import alone
from compress.catalogue.photographs import Photograph, Photographs, file_hashes
from compress.contracts import BadInput, EmbeddingSpec, GalleryOptions
from compress.gallery.store import SCHEMA, TABLES, dtype_of, make_thumbnail, pack_features, read_gallery
from compress.system import sqlite as database
from compress.system.files import artifact_sha256
from compress.system.progress import ticker

_SOURCES = "CREATE TABLE sources (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL);"


@dataclass(frozen=True)
class Origin:
    """What makes the features of a gallery.

    Attributes:
        name: the bundle's.
        model_sha256: the PyTorch model of the bundle.
    """

    engine: Engine
    name: str
    space_id: str
    model_sha256: str
    embedding: EmbeddingSpec

    def meta(self) -> dict[str, Any]:
        """The values of the gallery's table ``meta`` that do not depend on the photographs."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "space_id": self.space_id,
            "model_sha256": self.model_sha256,
            **asdict(self.embedding),
            "dtype": dtype_of(self.embedding.kind),
            "artifact": self.engine.artifact.name,
            "artifact_sha256": artifact_sha256(self.engine.artifact),
            "runtime": self.engine.runtime.title(),
        }


@dataclass(frozen=True)
class Update:
    """What an update did.

    Attributes:
        images: number of images in the gallery now.
        embedded: number of photographs that were embedded.
        unchanged: number of images that stayed as they were, other than in name and label.
        removed: number of images that are gone.
        left_out: files that are not in the gallery, by name, with the reason.
        same_file: names of photographs whose files are equal, in groups.
        same_embedding: names of photographs whose files differ and whose embeddings are equal, in groups.
        similar: names of photographs whose embeddings are nearly equal, in groups, if that was asked for.
    """

    images: int
    embedded: int
    unchanged: int
    removed: int
    left_out: Mapping[str, str]
    same_file: tuple[tuple[str, ...], ...]
    same_embedding: tuple[tuple[str, ...], ...]
    similar: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class _Row:
    """An image of the gallery: its label, its file's sha256, and its id in the file before; None if it is new."""

    label: str
    sha256: bytes
    old: int | None


def update_gallery(
    file: Path, origin: Origin, photographs: Photographs, *, sync: bool = False, without: Sequence[str] = ()
) -> Update:
    """Bring ``file`` up to date, or make it.

    Args:
        photographs: what is added, or replaced if an image has the same name and another content.
        sync: remove every image that is not among ``photographs``.
        without: names, or patterns such as ``2023/*``, of images that are removed.

    Raises:
        BadInput: the file is of another embedding space, artifact or runtime; somebody else writes it; a pattern fits
            no image; or no image would be left.
        MissingTool: the disk is full.
        ArtifactError: the artifact does not run.
    """
    with alone(file), ExitStack() as stack:
        old = stack.enter_context(_opened(file, origin)) if file.exists() else None
        before = {} if old is None else _rows(old)
        rows = {} if sync else dict(before)
        left_out = dict(photographs.left_out)
        _remove(rows, without)
        id_of = {row.sha256: row.old for row in before.values()}
        with open_journal(file, {**origin.meta(), "version": origin.engine.runtime.version()}) as journal:
            todo = _plan(photographs.found, rows, id_of, journal.known())
            count = _embed(origin, todo, rows, journal, left_out)
            if not rows:
                raise BadInput(f"{file}: no image would be left; delete the file, or give other photographs")
            alike = _write(file, origin, rows, old, journal)
    kept = sum(row.old is not None for row in rows.values())
    return Update(
        images=len(rows),
        embedded=count,
        unchanged=kept,
        removed=len(before.keys() - rows.keys()),
        left_out=dict(sorted(left_out.items())),
        same_file=_groups((name, row.sha256) for name, row in rows.items()),
        same_embedding=alike,
    )


@contextmanager
def _opened(file: Path, origin: Origin) -> Iterator[database.Reader]:
    """Open the gallery after checking that it is sound and that ``origin`` made it."""
    found = read_gallery(file).meta
    expected = origin.meta()
    if "artifact" not in found:
        raise BadInput(f"{file}: is the gallery of a run, not of 'compress index'; choose another --out")
    for key, what in {
        "space_id": "the embedding space",
        "artifact": "--artifact",
        "runtime": "--runtime",
        "artifact_sha256": "an artifact with the sha256",
    }.items():
        if found.get(key) != expected[key]:
            raise BadInput(
                f"{file}: made with {what} {found.get(key)}, this is {expected[key]}; continue with the former, "
                "or choose another --out"
            )
    with closing(database.Reader(file)) as reader:
        yield reader


def _rows(reader: database.Reader) -> dict[str, _Row]:
    query = "SELECT images.id, name, label, sha256 FROM images JOIN sources ON sources.id = images.id"
    return {name: _Row(label, bytes(sha256), number) for number, name, label, sha256 in reader.rows(query)}


def _remove(rows: dict[str, _Row], patterns: Sequence[str]) -> None:
    for pattern in patterns:
        found = [pattern] if pattern in rows else fnmatch.filter(rows, pattern)
        if not found:
            raise BadInput(f"--remove {pattern}: no image of the gallery has this name")
        for name in found:
            del rows[name]


def _plan(
    photographs: Sequence[Photograph],
    rows: dict[str, _Row],
    id_of: Mapping[bytes, int | None],
    finished: set[bytes],
) -> list[Photograph]:
    """Put every photograph whose content is known into ``rows``; return those that must be embedded."""
    todo = []
    for photograph, sha256 in zip(photographs, file_hashes(photographs), strict=True):
        rows.pop(photograph.name, None)
        if sha256 in id_of:
            rows[photograph.name] = _Row(photograph.label, sha256, id_of[sha256])
        elif sha256 in finished:
            rows[photograph.name] = _Row(photograph.label, sha256, None)
        else:
            todo.append(photograph)
    return todo


def _embed(
    origin: Origin, todo: Sequence[Photograph], rows: dict[str, _Row], journal: Journal, left_out: dict[str, str]
) -> int:
    """Embed ``todo`` into the journal and put them into ``rows``; returns how many could be decoded."""
    count, longest = 0, GalleryOptions().thumbnail
    with ticker("index", len(todo), "photographs") as bar:
        for some in embed_photographs(origin.engine, todo):
            finished = []
            for each in some:
                name = each.photograph.name
                if isinstance(each, Undecodable):
                    left_out[name] = each.reason
                    continue
                feature = pack_features(each.embedding[None], origin.embedding.kind).tobytes()
                finished.append(Finished(each.sha256, *make_thumbnail(each.pixels, longest), feature))
                rows[name] = _Row(each.photograph.label, each.sha256, None)
            journal.add(finished)
            count += len(finished)
            bar.advance(len(some))
    return count


def _write(
    file: Path, origin: Origin, rows: Mapping[str, _Row], old: database.Reader | None, journal: Journal
) -> tuple[tuple[str, ...], ...]:
    """Write the file; returns the names whose files differ and whose embeddings are equal, in groups."""
    meta = {**origin.meta(), "images": len(rows), "of": len(rows)}
    labels = {label: number for number, label in enumerate(sorted({row.label for row in rows.values()} - {""}))}
    features: dict[tuple[bytes, bytes], str] = {}
    with database.written(file, TABLES + _SOURCES) as new:
        new.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(meta[key])) for key in sorted(meta)])
        for number, (name, row) in enumerate(sorted(rows.items())):
            stored = _stored(row, old, journal)
            picture = (stored.width, stored.height, stored.thumbnail, stored.feature)
            new.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, name, row.label, labels.get(row.label, -1), *picture),
            )
            new.execute("INSERT INTO sources VALUES (?, ?)", (number, row.sha256))
            features.setdefault((hashlib.sha256(stored.feature).digest(), row.sha256), name)
    return _groups((name, feature) for (feature, _), name in features.items())


def _stored(row: _Row, old: database.Reader | None, journal: Journal) -> Finished:
    if row.old is None or old is None:
        return journal.find(row.sha256)
    ((width, height, thumbnail, feature),) = old.rows(
        "SELECT width, height, thumbnail, feature FROM images WHERE id = ?", (row.old,)
    )
    return Finished(row.sha256, width, height, thumbnail, feature)


def _groups(values: Iterable[tuple[str, bytes]]) -> tuple[tuple[str, ...], ...]:
    """Names with the same value, in groups of two or more, sorted."""
    names: dict[bytes, list[str]] = defaultdict(list)
    for name, value in values:
        names[value].append(name)
    return tuple(sorted(tuple(sorted(group)) for group in names.values() if len(group) > 1))
