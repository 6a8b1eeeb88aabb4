"""``compress index``: put a user's own photographs into a gallery that apps and ``compress search`` open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compress.bundle.artifact_choice import artifacts_by_name
from compress.bundle.manifest import Manifest, read_manifest
from compress.bundle.thresholds import match_distance
from compress.catalogue.embedding import open_engine
from compress.catalogue.living_gallery import Origin, Update, update_gallery
from compress.catalogue.living_index import IndexUpdate, check_index, index_beside, update_index
from compress.catalogue.near_duplicates import similar_groups
from compress.catalogue.outside import require_outside
from compress.catalogue.photographs import FOLDERS, Photographs, find_photographs
from compress.contracts import BadInput
from compress.gallery.store import GALLERY, read_gallery


@dataclass(frozen=True)
class Statistics:
    """The content of a gallery.

    Attributes:
        labels: number of images by label; images without a label are under "".
    """

    file: str
    bytes: int
    images: int
    artifact: str
    runtime: str
    space_id: str
    labels: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def default_file(folder: Path) -> Path:
    """Where ``compress index`` writes by default: beside the bundle, whose own files are fixed."""
    resolved = folder.resolve()
    return resolved.with_name(f"{resolved.name}.gallery.sqlite")


def index(
    folder: Path,
    places: Sequence[Path | str],
    out: Path | None = None,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    labels: str = FOLDERS,
    sync: bool = False,
    without: Sequence[str] = (),
    workers: int | None = None,
    follow: str | None = None,
    similar: str | None = None,
) -> tuple[Path, Update, IndexUpdate | None]:
    """Embed photographs with one artifact of the bundle in ``folder`` and bring the gallery file up to date.

    An index beside the gallery is brought up to date, too.

    Args:
        places: as ``find_photographs``; may be empty if ``without`` is not.
        out: the gallery file; by default ``default_file``.
        artifact, runtime: as ``choose_artifact``; by default those that made the file.
        labels: as ``find_photographs``.
        sync, without: as ``update_gallery``.
        workers: number of processes; by default one per core.
        follow: name of an index that is to be beside the gallery.
        similar: also find photographs within this distance, or within the threshold of a false-accept rate (``0.01%``).

    Returns:
        The gallery file, what was done, and what was done to its index, if it has one.

    Raises:
        BadInput, MissingTool, ArtifactError: as ``find_photographs``, ``choose_artifact`` and ``update_gallery``; or
            the file, or a place, lies inside the bundle.
    """
    manifest = read_manifest(folder)
    file = out or default_file(folder)
    require_outside(folder, file, places)
    if sync and not places:
        raise BadInput("--sync: give the folders that the gallery is to hold; nothing would be left")
    if not places and not without and follow is None:
        raise BadInput("give photographs to index, or --remove, --index or --stats")
    beside = index_beside(file)
    if follow is None and beside is not None:
        follow = beside[0]
    beside_it = None if follow is None else check_index(follow, file, manifest.embedding.distance)
    origin = _origin(folder, manifest, file, artifact, runtime, workers)
    limit = None if similar is None else _limit(manifest, origin, similar)
    photographs = find_photographs(places, labels) if places else Photographs((), {})
    done = update_gallery(file, origin, photographs, sync=sync, without=without)
    if limit is not None:
        done = replace(done, similar=similar_groups(read_gallery(file), limit))
    return file, done, None if beside_it is None else update_index(file, beside_it)


def _limit(manifest: Manifest, origin: Origin, text: str) -> float:
    entry = artifacts_by_name(manifest)[origin.engine.artifact.name]
    try:
        return match_distance(text, entry, origin.engine.runtime.title())
    except BadInput as error:
        raise BadInput(str(error).replace("--threshold", "--similar", 1)) from error


def _origin(
    folder: Path, manifest: Manifest, file: Path, artifact: str | None, runtime: str | None, workers: int | None
) -> Origin:
    if file.exists():
        made = read_gallery(file).meta
        artifact, runtime = artifact or made.get("artifact"), runtime or made.get("runtime")
    engine = open_engine(folder, manifest, artifact, runtime, workers)
    model = read_gallery(folder / GALLERY).meta["model_sha256"]
    return Origin(engine, manifest.name, manifest.embedding.space_id, model, manifest.embedding.spec)


def statistics(folder: Path, out: Path | None = None) -> Statistics:
    """Describe a gallery that ``index`` made.

    Raises:
        BadInput: there is none, or it is damaged.
    """
    file = out or default_file(folder)
    if not file.exists():
        raise BadInput(f"{file}: there is no gallery yet; make it with 'compress index {folder} PHOTOS'")
    gallery = read_gallery(file)
    if "artifact" not in gallery.meta:
        raise BadInput(f"{file}: is the gallery of a run, not of 'compress index'; choose another --out")
    meta, labels = gallery.meta, dict(sorted(Counter(gallery.labels).items()))
    return Statistics(
        file=str(file),
        bytes=file.stat().st_size,
        images=len(gallery.names),
        artifact=meta["artifact"],
        runtime=meta["runtime"],
        space_id=meta["space_id"],
        labels=labels,
    )
