"""Build the index of a bundle's gallery and measure it, in a process of its own.

faiss and PyTorch do not share a process well (see ``compress.indexes._faiss``), and an index that ends its process is a
message and not the end of a run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress.bundle.golden import read_golden
from compress.bundle.manifest import MANIFEST
from compress.bundle.neighbours import index_recall
from compress.contracts import BadInput, CompressError, Distance, Index, OpenIndex
from compress.gallery.recall import K, exhaustive, searched
from compress.gallery.store import GALLERY, Gallery, read_gallery
from compress.options import build_named
from compress.system.files import artifact_sha256

RECALL = f"recall@{K}"
GOLDEN_RECALL = f"golden_{RECALL}"
_EXACT_ROUNDS = 100
"""Queries that exhaustive search is timed with, at most."""


@dataclass(frozen=True)
class _Job:
    """Attributes: folder: the bundle; index: ``{name: options}``; scratch: with the arrays, and for ``result.json``."""

    folder: str
    index: dict[str, Any]
    distance: Distance
    seed: int
    scratch: str


def index_path(index: Index) -> Path:
    """Where the index lies in a bundle."""
    return GALLERY.parent / index.file


def build_index(
    index: Index,
    folder: Path,
    queries: np.ndarray,
    own: np.ndarray,
    seed: int,
    whole: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, Any]:
    """Index the gallery of the bundle ``folder``, whose golden pack is written.

    Args:
        queries: float32 [Q, D], to measure it with.
        own: int64 [Q], their ids in the gallery, -1 where they have none.
        whole: where the bundle's gallery is a part of the run's, all its features, float32 [W, D], and the queries' ids
            in them; the index is then built and measured once more.

    Returns:
        What bundle.json says about it, as JSON values.

    Raises:
        CompressError: it could not be built; the message says why.
    """
    from validators.isolation import child_process, last_words

    with tempfile.TemporaryDirectory(prefix="compress-", ignore_cleanup_errors=True) as name:
        scratch = Path(name).resolve()
        named = {index.component_name(): index.options()}
        distance = read_gallery(folder / GALLERY).embedding.distance
        arrays = {"queries": queries, "own": own}
        if whole is not None:
            arrays |= {"whole": whole[0], "whole_own": whole[1]}
        for key, array in arrays.items():
            np.save(scratch / f"{key}.npy", array)
        job = _Job(str(folder.absolute()), named, distance, seed, str(scratch))
        (scratch / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
        module = ("compress.bundle.gallery_index", str(scratch / "job.json"))
        with child_process(sys.executable, module, scratch, threads=1, stdout=subprocess.DEVNULL) as child:
            status = child.wait()
        if status != 0:
            raise CompressError(f"gallery.index: {index.component_name()} {last_words(status, scratch)}")
        found: dict[str, Any] = json.loads((scratch / "result.json").read_text(encoding="utf-8"))
        return found


def open_index(folder: Path, manifest: Mapping[str, Any], gallery: Gallery) -> OpenIndex:
    """The index that a bundle's manifest names, ready to search its ``gallery``.

    Raises:
        BadInput: it is missing, damaged, or not known here.
        MissingTool: it needs a library that is not installed.
    """
    entry = manifest["gallery"]
    path = folder / entry["path"]
    # faiss trusts what it reads: a wrong byte may end the process, so the file must be the one that was made.
    if not path.is_file() or artifact_sha256(path) != manifest["files"].get(entry["path"]):
        raise BadInput(f"{path}: missing, or changed since the bundle was made; take the file of the run")
    try:
        index = build_named(Index, {entry["index"]: entry["options"]}, "gallery.index")
    except BadInput as error:
        raise BadInput(f"{folder / MANIFEST}: {error}") from error
    return index.open(path, gallery.features, gallery.embedding.distance)


def _run(job: _Job) -> dict[str, Any]:
    index = build_named(Index, job.index, "gallery.index")
    folder, scratch = Path(job.folder), Path(job.scratch)
    arrays = {path.stem: np.load(path) for path in scratch.glob("*.npy")}
    gallery, golden = read_gallery(folder / GALLERY), read_golden(folder / "golden")
    path = folder / index_path(index)

    def measured(path: Path, features: np.ndarray, own: np.ndarray) -> dict[str, Any]:
        build_ms = _milliseconds(lambda: index.build(path, features, job.distance, job.seed))
        opened = index.open(path, features, job.distance)
        done = searched(opened, features, arrays["queries"], own, job.distance)
        search, rounds = exhaustive(features, job.distance), arrays["queries"][:_EXACT_ROUNDS]
        exact = [_milliseconds(partial(search, query, K)) for query in rounds]
        times = {"build": build_ms, "query": float(np.median(done.milliseconds)), "exact": float(np.median(exact))}
        return {
            "images": len(features),
            "bytes": path.stat().st_size,
            RECALL: done.recall,
            "latency_ms": {**times, "threads": 1},
        }

    found = measured(path, gallery.features, arrays["own"])
    whole = None
    if "whole" in arrays:
        whole = measured(scratch / "whole.index", arrays["whole"], arrays["whole_own"])
    opened = index.open(path, gallery.features, job.distance)
    return {
        "index": index.component_name(),
        "options": index.options(),
        "path": index_path(index).as_posix(),
        **found,
        "queries": len(arrays["queries"]),
        GOLDEN_RECALL: index_recall(golden, gallery, opened),
        "whole_gallery": whole,
    }


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def main() -> int:
    """Do the job named on the command line."""
    from validators.child import watch_parent

    job = _Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    watch_parent(Path(job.scratch))
    (Path(job.scratch) / "result.json").write_text(json.dumps(_run(job)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
