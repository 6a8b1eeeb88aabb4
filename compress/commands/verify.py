"""Check a finished bundle again, from the bundle alone: hashes, golden images, gates. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress import plugins
from compress.bundle.gallery_index import GOLDEN_RECALL, open_index
from compress.bundle.golden import Golden, read_golden
from compress.bundle.manifest import MANIFEST, failures, json_values, read_manifest
from compress.bundle.neighbours import SECTION, index_problems, index_recall, neighbour_overlap
from compress.contracts import (
    BadInput,
    Check,
    EmbeddingKind,
    EmbeddingSpec,
    HeldOut,
    ImageSet,
    MissingTool,
    Observation,
    Runtime,
)
from compress.gallery.store import GALLERY, Gallery, read_gallery
from compress.system.files import artifact_bytes, artifact_sha256

# These need the whole held-out set, or the machine that measured them; the golden images cannot judge them.
_NOT_FROM_GOLDEN = {"mAP", "mAP_drop", "latency_ms", "latency_ratio", "runs"}

_RECALL_SLACK = 0.01
"""Another processor rounds otherwise: 6 of the 640 neighbours of 64 golden images."""


@dataclass(frozen=True)
class Verification:
    """What was found out.

    Attributes:
        problems: one line per file or gate that failed.
        entries: as in bundle.json, measured now.
        index: of the gallery, where it has one: ``index``, ``golden_recall@10``, and ``reason`` where that is None.
    """

    name: str
    problems: tuple[str, ...]
    entries: tuple[dict[str, Any], ...]
    index: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = json_values({**asdict(self), "passed": not self.problems})
        return values


def verify(folder: Path, runtime: str | None = None) -> Verification:
    """Re-check every file of a bundle, and every artifact on a runtime installed here.

    Args:
        runtime: execute on this one only; artifacts of formats it cannot run are hashed and no more.

    Raises:
        BadInput: there is no bundle, its manifest is unreadable, or there is no such runtime.
        MissingTool: not one artifact could be executed here.
    """
    from validators.measure import entry, measure, static_values, unexecuted
    from validators.pytorch_mobile import described

    manifest = read_manifest(folder)
    _check_known(folder, manifest)
    named = _runtime(runtime) if runtime else None
    problems = _changed_files(folder, manifest)
    try:
        golden = read_golden(folder / "golden")
    except BadInput as error:
        return Verification(manifest["name"], (*problems, str(error)), ())
    reference, held_out = _observed(golden)
    gallery: Gallery | None = None
    index: dict[str, Any] | None = None
    try:
        gallery = read_gallery(folder / GALLERY)
        problems += index_problems(golden, gallery, manifest)
        if not any(line.startswith(f"{_index_file(manifest)}: ") for line in problems):
            index, found_in_index = _searched_index(folder, manifest, golden, gallery)
            problems += found_in_index
    except BadInput as error:
        problems.append(str(error))
    spec = EmbeddingSpec(**{key: manifest["embedding"][key] for key in ("dim", "kind", "distance")})
    checks = [plugins.find(Check, name)() for name in plugins.names(Check)]
    measured: list[dict[str, Any]] = []
    for recorded in manifest["artifacts"]:
        path = folder / recorded["path"]
        if not path.exists():
            continue
        file = {
            **{key: recorded[key] for key in ("path", "format", "precision", "sha256")},
            "bytes": artifact_bytes(path),
            **described(path, recorded["format"]),
        }
        limits = _limits(recorded, spec.kind)
        static = static_values(file, {size: manifest["architecture"][size] for size in ("params", "macs")})
        chosen, reason = _choose(recorded["format"], named)
        if reason is not None:
            measured.append({**file, **unexecuted(chosen, reason, checks, limits, static), SECTION: None})
        else:
            result, observed = measure(chosen, path, reference, held_out, checks, spec)
            found = None if observed is None or gallery is None else neighbour_overlap(golden, gallery, observed.probes)
            result[SECTION] = found
            measured.append({**file, **entry(chosen, json_values(result), limits, static)})
    if measured and all(each["evidence"] == "not-run" and each["runtime_version"] is None for each in measured):
        raise MissingTool(
            f"{folder}: no artifact could be executed here ({measured[0]['reason']}); "
            'pip install "compress-retrieval[verify]"'
        )
    failed = failures(json_values({"artifacts": measured}))
    return Verification(manifest["name"], (*problems, *failed), tuple(measured), index)


def _check_known(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises BadInput for a format or a gate that only another version of Compress may know."""
    from validators import runtimes_for
    from validators.gates import check_names

    for artifact in manifest["artifacts"]:
        if not runtimes_for(artifact["format"]):
            raise BadInput(
                f"{folder / MANIFEST}: {artifact['path']} has the format '{artifact['format']}', unknown here"
            )
        try:
            check_names(gate["name"] for gate in artifact["gates"])
        except BadInput as error:
            raise BadInput(f"{folder / MANIFEST}: {artifact['path']}: {error}") from error


def _changed_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """One line per file that is missing, changed, or new in a folder of the bundle."""
    recorded = {**manifest["files"], **{entry["path"]: entry["sha256"] for entry in manifest["artifacts"]}}
    problems = []
    for name, sha256 in recorded.items():
        path = folder / name
        if not path.exists():
            problems.append(f"{name}: missing")
        elif artifact_sha256(path) != sha256:
            problems.append(f"{name}: changed since the bundle was made (sha256 differs)")
    return problems


def _index_file(manifest: Mapping[str, Any]) -> str | None:
    path: str | None = (manifest.get("gallery") or {}).get("path")
    return path


def _searched_index(
    folder: Path, manifest: Mapping[str, Any], golden: Golden, gallery: Gallery
) -> tuple[dict[str, Any] | None, list[str]]:
    """``Verification.index``, and a line if the index finds fewer of the golden images' neighbours than it did.

    Raises:
        BadInput: it is damaged.
    """
    recorded = manifest.get("gallery") or {}
    if recorded.get("index") is None:
        return None, []
    try:
        opened = open_index(folder, manifest, gallery)
    except MissingTool as error:
        return {"index": recorded["index"], GOLDEN_RECALL: None, "reason": str(error)}, []
    now, then = index_recall(golden, gallery, opened), recorded[GOLDEN_RECALL]
    found = {"index": recorded["index"], GOLDEN_RECALL: now, "reason": None}
    if now >= then - _RECALL_SLACK:
        return found, []
    return found, [f"{recorded['path']}: finds {now:.3f} of the golden images' neighbours, {then:.3f} when it was made"]


def _observed(golden: Golden) -> tuple[Observation, HeldOut]:
    images = ImageSet(golden.images, golden.labels, golden.files)
    return Observation(golden.embeddings, golden.embeddings, golden.embeddings), HeldOut(images, images, golden.images)


def _runtime(name: str) -> Runtime:
    runtime = plugins.find(Runtime, name)()
    if (reason := runtime.unavailable()) is not None:
        raise MissingTool(f"--runtime {name}: {reason}")
    return runtime


def _choose(file_format: str, named: Runtime | None) -> tuple[Runtime, str | None]:
    """The runtime to execute on, and why it does not if it does not."""
    from validators import runtimes_for

    if named is not None:
        return named, None if file_format in named.formats else f"{named.component_name()} does not run {file_format}"
    known = runtimes_for(file_format)
    best = next((runtime for runtime in known if runtime.unavailable() is None), known[0])
    return best, best.unavailable()


def _limits(recorded: Mapping[str, Any], kind: EmbeddingKind) -> dict[str, float]:
    """The limits the bundle was made with, and the defaults of its precision, as far as golden images can judge."""
    from validators.gates import default_limits

    own = {gate["name"]: gate["limit"] for gate in recorded["gates"]}
    limits = {**default_limits(recorded["precision"], recorded["format"], kind), **own}
    return {name: limit for name, limit in limits.items() if name not in _NOT_FROM_GOLDEN}
