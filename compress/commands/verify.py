"""Check a finished bundle again, from the bundle alone: hashes, golden images, gates. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from compress import plugins
from compress.bundle.consistency import changed_files, gallery_inconsistencies, inconsistencies
from compress.bundle.gallery_index import open_index
from compress.bundle.gallery_of_bundle import read_gallery_of
from compress.bundle.golden import Golden, read_golden
from compress.bundle.golden_photos import photo_problems
from compress.bundle.manifest import (
    MANIFEST,
    ArtifactEntry,
    Entry,
    FileEntry,
    IndexedGallery,
    Manifest,
    failed_gates,
    failed_line,
    read_manifest,
    uncaught,
)
from compress.bundle.neighbours import gallery_problems, index_recall, neighbour_overlap
from compress.bundle.signing import signature_problems
from compress.contracts import BadInput, Check, EmbeddingKind, HeldOut, ImageSet, MissingTool, Observation, Runtime
from compress.gallery.store import GALLERY, Gallery, read_gallery
from compress.system.files import artifact_bytes, artifact_sha256
from validators.gates import NOT_FROM_GOLDEN
from validators.results import Measured, Part

_NOT_JUDGED = NOT_FROM_GOLDEN | {"latency_ms", "runs"}
"""Gates that need the whole held-out set, or the machine of the run."""

_RECALL_SLACK = 0.01
"""Tolerance for the rounding of another processor: 6 of the 640 neighbours of 64 golden images."""


class VerifiedIndex(Part):
    """The gallery's index, searched by ``verify``; ``reason`` says why it was not searched."""

    index: str
    golden_recall: Measured = Field(validation_alias="golden_recall@10", serialization_alias="golden_recall@10")
    reason: str | None


@dataclass(frozen=True)
class Verification:
    """The result of checking a bundle.

    Attributes:
        problems: one line per file or gate that failed.
        entries: the artifacts, as in bundle.json, but measured now.
        index: the gallery's index, if it has one.
        devices: what devices measured, as recorded; it cannot be measured again here.
    """

    name: str
    problems: tuple[str, ...]
    entries: tuple[Entry, ...]
    index: VerifiedIndex | None = None
    devices: tuple[Entry, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "problems": list(self.problems),
            "entries": [entry.to_json() for entry in self.entries],
            "devices": [entry.to_json() for entry in self.devices],
            "index": None if self.index is None else self.index.to_json(),
            "passed": not self.problems,
        }


@dataclass(frozen=True)
class _Contents:
    """The bundle's content except its artifacts; ``gallery`` is None if it is damaged."""

    manifest: Manifest
    golden: Golden
    gallery: Gallery | None


def verify(
    folder: Path,
    runtime: str | None = None,
    *,
    require: Sequence[str] = (),
    key: Path | None = None,
    gallery: Path | None = None,
) -> Verification:
    """Check every file of a bundle, and every artifact on a runtime installed here.

    An artifact whose sha256 differs from the manifest's is not executed, an index not searched.

    Args:
        runtime: execute on this runtime only; artifacts of formats that it cannot run are only hashed.
        require: formats, such as ``tflite``, of which at least one artifact must be executed.
        key: a public key; the bundle must be signed with the matching private key.
        gallery: a file that ``compress index`` made; it must be sound and made by an artifact of this bundle.

    Raises:
        BadInput: there is no bundle, its manifest is unreadable, or there is no such runtime, format or key.
        MissingTool: no artifact could be executed here, or signatures cannot be checked.
    """
    manifest = read_manifest(folder)
    named = _runtime(runtime) if runtime else None
    _check_known(folder, manifest, named)
    _check_formats(require)
    problems = [] if key is None else signature_problems(folder, key)
    changed = changed_files(folder, manifest)
    problems += changed + inconsistencies(folder, manifest)
    if gallery is not None:
        problems += _own_gallery_problems(manifest, gallery)
    try:
        golden = read_golden(folder / "golden")
    except BadInput as error:
        return Verification(manifest.name, (*problems, str(error)), ())
    own, index, in_gallery = _searched(folder, manifest, golden)
    if golden.photos is not None:
        problems += photo_problems(folder / "golden", golden.photos, manifest.preprocess.value)
    contents = _Contents(manifest, golden, own)
    measured = [
        _measured(folder, artifact, contents, named)
        for artifact in manifest.artifacts
        if (folder / artifact.path).exists()
    ]
    in_gallery += [*_failed_when_made(manifest, measured), *_not_executed(require, measured)]
    if (
        measured
        and not changed
        and all(each.evidence == "not-run" and each.runtime_version is None for each in measured)
    ):
        raise MissingTool(
            f"{folder}: no artifact could be executed here ({measured[0].reason}); "
            'pip install "compress-retrieval[verify]"'
        )
    devices = tuple(entry for entry in manifest.entries if entry.device is not None)
    found = (*problems, *in_gallery, *failed_gates(measured))
    return Verification(manifest.name, found, tuple(measured), index, devices)


def _own_gallery_problems(manifest: Manifest, file: Path) -> list[str]:
    """One line if a gallery of ``compress index`` does not belong to this bundle, or is damaged."""
    try:
        meta = read_gallery_of(manifest, file).meta
    except BadInput as error:
        return [str(error)]
    made_by = meta.get("artifact_sha256")
    if made_by in {artifact.sha256 for artifact in manifest.artifacts}:
        return []
    return [f"{file}: made by {meta.get('artifact')} with the sha256 {made_by}, which this bundle does not hold"]


def _check_known(folder: Path, manifest: Manifest, named: Runtime | None) -> None:
    """Raises BadInput for a format or a gate that only another version of Compress may know."""
    from validators import runtimes_for
    from validators.gates import check_names

    for artifact in manifest.artifacts:
        if not runtimes_for(artifact.format) and named is None:
            raise BadInput(
                f"{folder / MANIFEST}: {artifact.path} has the format '{artifact.format}', unknown here; if an "
                "installed package has a runtime for it, name that: --runtime NAME"
            )
        try:
            check_names(gate.name for gate in artifact.gates)
        except BadInput as error:
            raise BadInput(f"{folder / MANIFEST}: {artifact.path}: {error}") from error


def _check_formats(names: Sequence[str]) -> None:
    """Raises BadInput for a format that no artifact can have."""
    from validators import FORMATS

    known = sorted(set(FORMATS.values()))
    for name in names:
        if name not in known:
            raise BadInput(f"--require {name}: there are {', '.join(known)}{plugins.did_you_mean(name, known)}")


def _failed_when_made(manifest: Manifest, measured: Sequence[Entry]) -> Iterator[str]:
    """One line per failure that the manifest records and that was not measured again."""
    again = {(entry.path, entry.runtime, gate.name) for entry in measured for gate in entry.gates}
    for entry in manifest.entries:
        for gate in entry.failed:
            if (entry.path, entry.runtime, gate.name) not in again:
                yield f"{failed_line(f'{entry.path} on {entry.runtime}', gate)}; failed when made"
    if isinstance(manifest.gallery, IndexedGallery):
        for gate in manifest.gallery.gates:
            if not gate.passed:
                yield f"{failed_line(manifest.gallery.path, gate)}; failed when made"
    if manifest.upgrade is not None:
        for gate in manifest.upgrade.gates:
            if not gate.passed:
                yield f"{failed_line('the old gallery', gate)}; failed when made"
    for line in uncaught(manifest.controls):
        yield f"{line}; failed when made"


def _not_executed(required: Sequence[str], measured: Sequence[Entry]) -> Iterator[str]:
    """One line per format of which nothing was executed."""
    executed = {entry.format for entry in measured if entry.evidence != "not-run"}
    for name in required:
        if name not in executed:
            reasons = [entry.reason for entry in measured if entry.format == name and entry.reason]
            yield f"--require {name}: no {name} artifact was executed ({reasons[0] if reasons else 'there is none'})"


def _searched(
    folder: Path, manifest: Manifest, golden: Golden
) -> tuple[Gallery | None, VerifiedIndex | None, list[str]]:
    """Read the gallery and search its index; also returns one line per problem of either."""
    try:
        gallery = read_gallery(folder / GALLERY)
        problems = gallery_problems(golden, gallery, manifest.embedding) + gallery_inconsistencies(manifest, gallery)
        indexed = manifest.gallery
        if not isinstance(indexed, IndexedGallery):
            return gallery, None, problems
        if (folder / indexed.path).exists():
            index, found = _searched_index(folder, manifest, indexed, golden, gallery)
            return gallery, index, problems + found
        return gallery, None, problems
    except BadInput as error:
        return None, None, [str(error)]


def _searched_index(
    folder: Path, manifest: Manifest, recorded: IndexedGallery, golden: Golden, gallery: Gallery
) -> tuple[VerifiedIndex, list[str]]:
    """Search the index; also returns a line if it finds fewer of the golden images' neighbours than it did.

    Raises:
        BadInput: the index is not listed in the manifest, of an unknown kind, or unreadable.
    """
    sha256 = manifest.files.get(recorded.path)
    if sha256 is not None and artifact_sha256(folder / recorded.path) != sha256:
        reason = "its sha256 differs from the manifest's"
        return VerifiedIndex(index=recorded.index, golden_recall=None, reason=reason), []
    try:
        opened = open_index(folder, recorded, sha256, gallery)
    except MissingTool as error:
        return VerifiedIndex(index=recorded.index, golden_recall=None, reason=str(error)), []
    now, then = index_recall(golden, gallery, opened), recorded.golden_recall
    found = VerifiedIndex(index=recorded.index, golden_recall=now, reason=None)
    if then is not None and now >= then - _RECALL_SLACK:
        return found, []
    made = "nothing" if then is None else f"{then:.3f}"
    return found, [f"{recorded.path}: finds {now:.3f} of the golden images' neighbours, {made} when it was made"]


def _measured(folder: Path, recorded: ArtifactEntry, contents: _Contents, named: Runtime | None) -> Entry:
    """Measure the artifact on a runtime of this machine with the golden images."""
    from validators.control_distance import separation
    from validators.gates import limits_on
    from validators.measure import executed, measure, static_values, unexecuted
    from validators.pytorch_mobile import described

    path, manifest, golden = folder / recorded.path, contents.manifest, contents.golden
    file = FileEntry.model_validate(
        {
            "path": recorded.path,
            "format": recorded.format,
            "precision": recorded.precision,
            "bytes": artifact_bytes(path),
            "sha256": recorded.sha256,
            **described(path, recorded.format),
        },
        strict=False,
    )
    chosen, reason = _choose(recorded.format, named)
    limits = _limits(recorded, manifest.embedding.kind)
    limits = limits_on(chosen.processor(), chosen.evidence(), limits, recorded.precision)
    if not golden.controls:  # a pack of an older version
        del limits["control_ratio"]
    sizes = {"model.params": float(manifest.architecture.params), "model.macs": float(manifest.architecture.macs)}
    static = {**sizes, **static_values(file.bytes, file.mobile_problems)}
    if artifact_sha256(path) != recorded.sha256:
        reason = "its sha256 differs from the manifest's, so it was not executed"
    if reason is not None:
        return Entry(**dict(file), **dict(unexecuted(chosen, reason, limits, static)))
    reference, held_out = _observed(golden)
    checks = [plugins.find(Check, name)() for name in plugins.names(Check)]
    done = measure(chosen, path, reference, held_out, checks, manifest.embedding.spec)
    measurement = done.measurement
    if done.observation is not None and contents.gallery is not None:
        overlap = neighbour_overlap(golden, contents.gallery, done.observation.probes)
        measurement = measurement.model_copy(update={"neighbours": overlap})
    if done.observation is not None and golden.controls:
        apart = separation(golden.embeddings, done.observation.probes, golden.broken, manifest.embedding.spec)
        measurement = measurement.model_copy(update={"separation": apart})
    return Entry(**dict(file), **dict(executed(chosen, measurement, done.failure, limits, static)))


def _observed(golden: Golden) -> tuple[Observation, HeldOut]:
    images = ImageSet(golden.images, golden.labels, golden.files)
    return Observation(golden.embeddings, golden.embeddings, golden.embeddings), HeldOut(images, images, golden.images)


def _runtime(name: str) -> Runtime:
    from validators import runtime_named

    runtime = runtime_named(name)
    if (reason := runtime.unavailable()) is not None:
        raise MissingTool(f"--runtime {name}: {reason}")
    return runtime


def _choose(file_format: str, named: Runtime | None) -> tuple[Runtime, str | None]:
    """Choose the runtime to execute on; also returns why it cannot execute, or None."""
    from validators import runtimes_for

    if named is not None:
        return named, None if file_format in named.formats else f"{named.title()} does not run {file_format}"
    known = runtimes_for(file_format)
    best = next((runtime for runtime in known if runtime.unavailable() is None), known[0])
    return best, best.unavailable()


def _limits(recorded: ArtifactEntry, kind: EmbeddingKind) -> dict[str, float]:
    """The limits that the bundle records and the defaults of its precision, if golden images can judge them."""
    from validators.gates import default_limits

    own = {gate.name: gate.limit for gate in recorded.gates}
    limits = {**default_limits(recorded.precision, recorded.format, kind), **own}
    return {name: limit for name, limit in limits.items() if name not in _NOT_JUDGED}
