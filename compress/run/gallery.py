"""The bundle's gallery: the PyTorch model's features of the held-out images, and the index over them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from compress.bundle.gallery_index import build_index, index_path
from compress.bundle.manifest import ExhaustiveGallery, IndexedGallery
from compress.bundle.rankings import MEASURED
from compress.contracts import GalleryOptions, Index
from compress.gallery.store import GALLERY, Gallery, read_gallery, write_gallery
from compress.model.identity import space_id
from compress.run.check_context import CheckContext
from compress.run.workspace import code_key
from compress.system import environment
from compress.system.files import artifact_sha256
from compress.system.progress import say
from validators.curves import spread
from validators.gates import INDEX_RECALL, evaluate_gates


def write(context: CheckContext, options: GalleryOptions, name: str) -> Gallery:
    """Write the gallery into the bundle and read it back; ``name`` is the recipe's."""
    file, model = context.work.folder / GALLERY, context.model
    about = {"name": name, "space_id": space_id(model), "model_sha256": context.key["model"]}

    def build(_: Path) -> None:
        features = context.reference.gallery
        write_gallery(file, context.held_out.gallery, features, model.classes, model.embedding, options, about)

    versions = {"sqlite": sqlite3.sqlite_version, **environment.versions(["pillow"])}
    chosen = {key: value for key, value in options.options().items() if key != "index"}
    context.work.reuse(
        "gallery", {**context.key, "gallery": chosen, "about": about, "writers": versions}, [file], build
    )
    return read_gallery(file)


def describe(
    context: CheckContext, index: Index | None, gallery: Gallery, seed: int
) -> ExhaustiveGallery | IndexedGallery:
    """Build and measure the gallery's index; returns the gallery's entry in bundle.json.

    The golden pack must have been written. ``index`` is written next to the gallery and measured with some of the
    queries, equally many of each class.
    """
    images, of = gallery.meta["images"], gallery.meta["of"]
    if index is None:
        return ExhaustiveGallery(images=images, of=of, index=None)

    def build(_: Path) -> IndexedGallery:
        say(f"gallery: {index.component_name()}")
        queries, leave_one_out = context.held_out.queries, context.held_out.leave_one_out
        rows = spread(queries.labels, -(-MEASURED // len(np.unique(queries.labels))))
        row_of = {name: row for row, name in enumerate(gallery.names)} if leave_one_out else {}
        own = np.array([row_of.get(queries.ids[row], -1) for row in rows.tolist()])
        own_in_all = rows if leave_one_out else np.full(len(rows), -1)
        whole = (context.reference.gallery, own_in_all) if images < of else None
        return build_index(index, context.work.folder, context.reference.queries[rows], own, seed, whole)

    key = {
        **context.key,
        "index": {index.component_name(): index.options()},
        "gallery": artifact_sha256(context.work.folder / GALLERY),
        "golden": artifact_sha256(context.work.folder / "golden"),
        "seed": seed,
        "measured": MEASURED,
        "writers": {"sqlite": sqlite3.sqlite_version, **environment.versions(["faiss-cpu"])},
        **({"index_code": code} if (code := code_key(index)) else {}),
    }
    found = context.work.reuse_as(IndexedGallery, "index", key, [context.work.folder / index_path(index)], build)
    limit = context.validation.gates.get(INDEX_RECALL, index.least_recall)
    gates = evaluate_gates({INDEX_RECALL: limit}, {"gallery.recall@10": found.recall})
    return found.model_copy(update={"of": of, "gates": gates})
