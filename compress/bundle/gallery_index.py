"""Build the index of a bundle's gallery and measure it, in a separate process.

faiss and PyTorch do not share a process well (see ``compress.indexes._faiss``), and if building an index aborts its
process, the run reports an error instead of aborting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress import plugins
from compress.bundle.golden import read_golden
from compress.bundle.manifest import MANIFEST, IndexedGallery, IndexLatency, IndexMeasurement
from compress.bundle.neighbours import index_recall
from compress.contracts import BadInput, Index, MissingTool, OpenIndex
from compress.gallery.recall import K, exhaustive, searched
from compress.gallery.store import GALLERY, Gallery, read_gallery
from compress.options import build, build_named
from compress.plugins import code
from compress.system.child import ChildFailed, child
from compress.system.files import artifact_sha256

_EXACT_ROUNDS = 100
"""At most this many queries are used to time exhaustive search."""


def index_path(index: Index) -> Path:
    """The path of the index in a bundle."""
    return GALLERY.parent / index.file


def build_index(
    index: Index,
    folder: Path,
    queries: np.ndarray,
    own: np.ndarray,
    seed: int,
    whole: tuple[np.ndarray, np.ndarray] | None,
) -> IndexedGallery:
    """Index the gallery of the bundle ``folder``; its golden pack must have been written.

    Args:
        queries: float32 [Q, D], to measure it with.
        own: int64 [Q], their ids in the gallery, -1 for a query that is not in it.
        whole: if the bundle's gallery is only a part of the run's, all features of the run's, float32 [W, D], and the
            queries' ids in them; the index is then built and measured for them, too.

    Returns:
        The entry of the index in bundle.json, without gates.

    Raises:
        CompressError: it could not be built; the message says why.
    """
    named = {"name": index.component_name(), "class": code.address_of(type(index)), "options": index.options()}
    distance = read_gallery(folder / GALLERY).embedding.distance
    arrays = {"queries": queries, "own": own}
    if whole is not None:
        arrays |= {"whole": whole[0], "whole_own": whole[1]}
    job = {"folder": str(folder.absolute()), "index": named, "distance": distance, "seed": seed}
    try:
        with child(_run, job, writable=[(folder / GALLERY).parent.absolute()]) as started:
            for key, array in arrays.items():
                np.save(started.scratch / f"{key}.npy", array)
            return IndexedGallery.from_json(started.result())
    except ChildFailed as failed:
        raise failed.error(f"gallery.index: {index.component_name()}") from failed


def open_index(folder: Path, described: IndexedGallery, sha256: str | None, gallery: Gallery) -> OpenIndex:
    """Open the index that a bundle's manifest describes, to search its ``gallery``.

    Args:
        sha256: sha256 of the index in the manifest; None if the manifest does not list the file.

    Raises:
        BadInput: the index is missing, damaged, or of an unknown kind.
        MissingTool: it needs a library that is not installed.
    """
    path = folder / described.path
    # faiss does not check what it reads: a wrong byte may abort the process, so the file must be unchanged.
    if not path.is_file() or artifact_sha256(path) != sha256:
        raise BadInput(f"{path}: missing, or changed since the bundle was made; take the file of the run")
    if described.index not in plugins.names(Index) and not plugins.is_trusted(described.index):
        raise MissingTool(
            f"the index '{described.index}' is code of another package, which a bundle must not choose; to use "
            f"it, name it in the environment variable {plugins.ALLOWED}"
        )
    try:
        index = build_named(Index, {described.index: described.options}, "gallery.index")
    except BadInput as error:
        raise BadInput(f"{folder / MANIFEST}: {error}") from error
    return index.open(path, gallery.features, gallery.embedding.distance)


def _run(job: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Build and measure in the child; ``job``: ``folder``, ``index`` with name and class, ``distance``, ``seed``."""
    index = build(code.load(job["index"]["class"]), job["index"]["options"], "gallery.index")
    folder, distance = Path(job["folder"]), job["distance"]
    arrays = {path.stem: np.load(path) for path in scratch.glob("*.npy")}
    gallery, golden = read_gallery(folder / GALLERY), read_golden(folder / "golden")
    path = folder / index_path(index)

    def measured(path: Path, features: np.ndarray, own: np.ndarray) -> IndexMeasurement:
        build_ms = _milliseconds(lambda: index.build(path, features, distance, job["seed"]))
        opened = index.open(path, features, distance)
        done = searched(opened, features, arrays["queries"], own, distance)
        search, rounds = exhaustive(features, distance), arrays["queries"][:_EXACT_ROUNDS]
        exact = [_milliseconds(partial(search, query, K)) for query in rounds]
        return IndexMeasurement(
            images=len(features),
            bytes=path.stat().st_size,
            recall=done.recall,
            latency_ms=IndexLatency(
                build=build_ms,
                query=float(np.median(done.milliseconds)),
                exact=float(np.median(exact)),
                threads=1,
            ),
        )

    found = measured(path, gallery.features, arrays["own"])
    whole = None
    if "whole" in arrays:
        whole = measured(scratch / "whole.index", arrays["whole"], arrays["whole_own"])
    opened = index.open(path, gallery.features, distance)
    described = IndexedGallery(
        **dict(found),
        of=len(arrays["whole"]) if whole is not None else len(gallery.features),
        index=job["index"]["name"],
        options=index.options(),
        path=index_path(index).as_posix(),
        queries=len(arrays["queries"]),
        golden_recall=index_recall(golden, gallery, opened),
        whole_gallery=whole,
        gates=(),
    )
    return described.to_json()


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)
