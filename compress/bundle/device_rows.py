"""The rows of a manifest that a device measured: made from its embeddings, and kept when a bundle is written again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from compress.bundle.consistency import limits_of, recipe_values
from compress.bundle.device_results import DeviceResults, MeasuredArtifact
from compress.bundle.golden import Golden
from compress.bundle.manifest import MANIFEST, ArtifactEntry, Manifest, read_manifest
from compress.bundle.neighbours import neighbour_overlap
from compress.contracts import BadInput, HeldOut, ImageSet, Observation
from compress.gallery.store import Gallery
from validators.checks.feature_parity import FeatureParity
from validators.control_distance import separation
from validators.gates import NOT_FROM_GOLDEN, limits_on
from validators.measure import judge, static_values
from validators.results import Device, Execution, LatencyResult, Measurement, PipelineTime

_CPUS = ("x86", "arm")


def title(runtime: str, model: str, processor: str) -> str:
    """The name of a device's row, such as ``litert on Google Pixel 8, gpu``; a second row of this name replaces it."""
    return f"{runtime} on {model}" if processor in _CPUS else f"{runtime} on {model}, {processor}"


def device_row(
    results: DeviceResults,
    sha256: str,
    measured: MeasuredArtifact,
    artifact: ArtifactEntry,
    bundle: tuple[Path, Manifest, Golden, Gallery],
) -> Execution:
    """Judge what a device measured of ``artifact``; its scores are computed from its embeddings.

    Args:
        sha256: sha256 of the file of results.

    Raises:
        BadInput: the embeddings have another shape, or hold NaN or infinity.
    """
    folder, manifest, golden, gallery = bundle
    measurement = Measurement()
    if measured.embeddings is not None:
        measurement = _measurement(measured, _array(measured, golden), manifest, golden, gallery)
    times = measured.pipeline_ms
    return _judged(
        folder,
        manifest,
        artifact,
        Execution(
            **dict(measurement),
            runtime=title(results.runtime.name, results.device.model, measured.processor),
            runtime_version=f"{results.runtime.name} {results.runtime.version}",
            processor=measured.processor,
            evidence="device" if measured.failure is None else "not-run",
            reason=measured.failure,
            gates=(),
            device=Device(
                model=results.device.model,
                system=results.device.system,
                measured_by=results.measured.by,
                measured_at=results.measured.at,
                results_sha256=sha256,
                load_ms=measured.load_ms,
                peak_bytes=measured.peak_bytes,
                delegate_share=measured.delegate_share,
                pipeline_ms=None if times is None else PipelineTime(median=times.median, p95=times.p95),
            ),
        ),
    )


def _array(measured: MeasuredArtifact, golden: Golden) -> np.ndarray:
    assert measured.embeddings is not None
    try:
        found = measured.embeddings.array()
    except ValueError as error:
        remedy = "find out on the device why, or give failure in place of embeddings"
        raise BadInput(f"{measured.path} on {measured.processor}: embeddings: {error}; {remedy}") from error
    if found.shape != golden.embeddings.shape:
        given, expected = list(found.shape), list(golden.embeddings.shape)
        raise BadInput(
            f"{measured.path} on {measured.processor}: embeddings: shape {given} instead of {expected}, one row per "
            "golden image; measure every image of golden/images.u8"
        )
    return found


def _measurement(
    measured: MeasuredArtifact, found: np.ndarray, manifest: Manifest, golden: Golden, gallery: Gallery
) -> Measurement:
    """Compare embeddings of the golden images, as ``compress verify`` does on this machine."""
    spec = manifest.embedding.spec
    images = ImageSet(golden.images, golden.labels, golden.files)
    right, given = (Observation(each, each, each) for each in (golden.embeddings, found))
    parity = FeatureParity().run(right, given, HeldOut(images, images, golden.images), spec)
    if parity.worst_image is not None:
        parity = parity.model_copy(update={"worst_image_file": f"golden/{parity.worst_image}"})
    apart = separation(golden.embeddings, found, golden.broken, spec) if golden.controls else None
    latency = measured.latency_ms
    return Measurement(
        parity=parity,
        neighbours=neighbour_overlap(golden, gallery, found),
        separation=apart,
        latency_ms=None
        if latency is None
        else LatencyResult(median=latency.median, p95=latency.p95, threads=latency.threads),
    )


def _judged(folder: Path, manifest: Manifest, artifact: ArtifactEntry, row: Execution) -> Execution:
    """The row with its gates: the limits of recipe and precision, without those that golden images cannot judge."""
    limits = limits_of(artifact.precision, artifact.format, manifest.embedding.kind, recipe_values(folder) or {})
    limits |= {gate.name: gate.limit for gate in artifact.gates if gate.name in limits}
    limits = {name: limit for name, limit in limits.items() if name not in NOT_FROM_GOLDEN}
    limits = limits_on(row.processor, row.evidence, limits, artifact.precision)
    if "golden/controls.f32" not in manifest.files:  # a pack of an older version
        limits.pop("control_ratio", None)
    sizes = {"model.params": float(manifest.architecture.params), "model.macs": float(manifest.architecture.macs)}
    static = {**sizes, **static_values(artifact.bytes, artifact.mobile_problems)}
    measurement = Measurement(**{name: getattr(row, name) for name in Measurement.model_fields})
    return row.model_copy(update={"gates": judge(limits, measurement, row.reason, static)})


def with_rows(artifact: ArtifactEntry, rows: Iterable[Execution]) -> ArtifactEntry:
    """Add rows to an artifact; each replaces the device's earlier row of the same name."""
    rows = tuple(rows)
    names = {row.runtime for row in rows}
    kept = tuple(row for row in artifact.other_runtimes if row.device is None or row.runtime not in names)
    return artifact.model_copy(update={"other_runtimes": (*kept, *rows)})


def with_earlier_rows(folder: Path, manifest: Manifest) -> Manifest:
    """Keep what devices measured when a run writes its bundle again: of equal files and equal golden images.

    The rows are judged again, because the recipe's limits may have changed. ``folder`` still has the earlier manifest.
    """
    if not (folder / MANIFEST).is_file():
        return manifest
    try:
        earlier = read_manifest(folder)
    except BadInput:
        return manifest
    packs = [
        {name: sha for name, sha in each.files.items() if name.startswith("golden/")} for each in (earlier, manifest)
    ]
    if packs[0] != packs[1] or earlier.embedding != manifest.embedding:
        return manifest
    rows = {each.sha256: [row for row in each.other_runtimes if row.device is not None] for each in earlier.artifacts}
    artifacts = (
        with_rows(each, [_judged(folder, manifest, each, row) for row in rows.get(each.sha256, [])])
        for each in manifest.artifacts
    )
    return manifest.model_copy(update={"artifacts": tuple(artifacts)})


def _golden_files(manifest: Manifest) -> dict[str, str]:
    return {name: sha256 for name, sha256 in manifest.files.items() if name.startswith("golden/")}
