"""Read the files of a bundle from which a report is made, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.bundle.manifest import Entry, Manifest, read_manifest
from compress.bundle.rankings import RANKINGS, RankingsFile, read_rankings
from compress.contracts import BadInput
from compress.gallery.store import GALLERY
from compress.system import sqlite as database
from compress.system.bounded_reading import JSON_BYTES, parse_json, read_bytes, read_text


@dataclass(frozen=True)
class Source:
    """The content of a bundle that a report shows.

    Attributes:
        folder: the bundle.
        manifest: bundle.json.
        metrics: the lines of metrics.jsonl.
        rankings: rankings.json; None in a bundle of an older version.
        recipe: the text of recipe.yaml.
    """

    folder: Path
    manifest: Manifest
    metrics: tuple[Mapping[str, Any], ...]
    rankings: RankingsFile | None
    recipe: str

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every file on every runtime that it was checked on."""
        return self.manifest.entries

    def name_of(self, entry: Entry) -> str:
        """The name of an entry, e.g. ``.tflite fp32``; with the runtime if the file was checked on more than one."""
        name = f"{entry.suffix} {entry.precision}"
        first = next(artifact for artifact in self.manifest.artifacts if artifact.path == entry.path)
        return name if entry.runtime == first.runtime else f"{name} · {entry.runtime}"

    def names(self) -> dict[tuple[str, str | None], str]:
        """``name_of`` by path and runtime."""
        return {(entry.path, entry.runtime): self.name_of(entry) for entry in self.entries}

    def file(self, path: str | None) -> bytes | None:
        """Read a file that the manifest lists; None for others, so that a bundle cannot show files from outside."""
        if path is None or path not in self.manifest.files or not (self.folder / path).is_file():
            return None
        return read_bytes(self.folder / path, JSON_BYTES)

    def thumbnails(self, ids: set[int]) -> dict[int, tuple[str, str, int, bytes]]:
        """Name, label, class number and JPEG of images in the gallery, by id."""
        path = self.folder / GALLERY
        if not path.is_file():
            return {}
        try:
            with closing(database.Reader(path)) as file:
                rows = file.rows("SELECT id, name, label, class, thumbnail FROM images ORDER BY id")
        except (sqlite3.Error, OSError, ValueError) as error:
            raise BadInput(f"{path}: the gallery is damaged ({error})") from error
        return {row[0]: row[1:] for row in rows if row[0] in ids}


def read_source(folder: Path) -> Source:
    """Read a bundle. Raises BadInput if there is none or one of its files is damaged; the message names it."""
    manifest = read_manifest(folder)
    lines = []
    path = folder / "metrics.jsonl"
    for number, line in enumerate(read_text(path, JSON_BYTES).splitlines() if path.is_file() else (), start=1):
        lines.append(_object(line, f"{path}: line {number}"))
    rankings = folder / RANKINGS
    recipe = folder / "recipe.yaml"
    return Source(
        folder,
        manifest,
        tuple(lines),
        read_rankings(rankings) if rankings.is_file() else None,
        read_text(recipe, JSON_BYTES) if recipe.is_file() else "",
    )


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise BadInput(f"{where}: damaged ({error}); make it again with 'compress run'") from error
    if not isinstance(value, dict):
        raise BadInput(f"{where}: damaged (no JSON object); make it again with 'compress run'")
    return value
