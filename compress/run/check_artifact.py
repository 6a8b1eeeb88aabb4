"""Compare one exported file, on every runtime that is to execute it, with the PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.bundle.golden import Golden
from compress.bundle.manifest import ArtifactEntry, FileEntry, compared
from compress.bundle.neighbours import neighbour_overlap
from compress.bundle.rankings import RankedModel, Rankings, UnrankedModel
from compress.bundle.worst_images import write_worst
from compress.contracts import Artifact, Runtime
from compress.gallery.store import GALLERY, Gallery
from compress.recipe.reader import Validation
from compress.run.check_context import CheckContext
from compress.run.workspace import code_key
from compress.system.files import artifact_bytes, artifact_sha256, atomic
from compress.system.progress import say
from validators import runtimes_for
from validators.compatibility import Sample, sample
from validators.control_distance import separation
from validators.gates import OF_NO_ARTIFACT, default_limits, limits_on
from validators.held_out_part import HeldOutPart
from validators.measure import executed, measure, static_values, unexecuted
from validators.photo_ways import judge_ways
from validators.pytorch_mobile import described
from validators.results import Execution, Measurement, Part


@dataclass(frozen=True)
class Checked:
    """The results of all checks of one file.

    Attributes:
        samples: files with its embeddings for the compatibility matrix, by the name that they have there.
        ranked: its search results on each runtime that executed it.
    """

    entry: ArtifactEntry
    samples: Mapping[str, Path]
    ranked: tuple[RankedModel | UnrankedModel, ...]


class _Outcome(Part):
    """One file on one runtime, as stored in the run's folder; ``failure`` says why nothing was measured."""

    measurement: Measurement
    failure: str | None
    ranked: RankedModel | UnrankedModel | None


def chosen_runtimes(validation: Validation, file_format: str) -> list[Runtime]:
    """The best runtime that is available, followed by those the recipe names."""
    known = runtimes_for(file_format)
    named = [runtime for runtime in validation.runtimes if file_format in runtime.formats]
    if not known:  # a format of another package
        return named
    best = next((runtime for runtime in known if runtime.unavailable() is None), known[0])
    return [best, *(runtime for runtime in named if runtime != best)]


def limits_of(context: CheckContext, precision: str, file_format: str | None = None) -> dict[str, float]:
    """The limits for artifacts of a precision: the defaults, replaced and extended by the recipe's."""
    own = default_limits(precision, file_format, context.model.embedding.kind)
    return {**own, **{name: limit for name, limit in context.validation.gates.items() if name not in OF_NO_ARTIFACT}}


def check(context: CheckContext, artifact: Artifact, golden: Golden, gallery: Gallery) -> Checked:
    """Execute and judge ``artifact``; ``golden`` and ``gallery`` are those of the bundle."""
    file = FileEntry.model_validate(
        {
            "path": artifact.path.relative_to(context.work.folder).as_posix(),
            "format": artifact.format,
            "precision": artifact.precision,
            "bytes": artifact_bytes(artifact.path),
            "sha256": artifact_sha256(artifact.path),
            **described(artifact.path, artifact.format),
            **artifact.details,
        },
        strict=False,
    )
    found = [
        _on(context, runtime, artifact.path, file, golden, gallery)
        for runtime in chosen_runtimes(context.validation, artifact.format)
    ]
    executions = [execution for execution, _, _ in found]
    entry = ArtifactEntry(**dict(file), **dict(executions[0]), other_runtimes=tuple(executions[1:]))
    names = compared(entry)
    samples = {
        names[execution.runtime]: path
        for execution, path, _ in found
        if path is not None and execution.runtime in names
    }
    return Checked(entry, samples, tuple(r for _, _, r in found if r is not None))


def _on(
    context: CheckContext, runtime: Runtime, path: Path, file: FileEntry, golden: Golden, gallery: Gallery
) -> tuple[Execution, Path | None, RankedModel | UnrankedModel | None]:
    limits = limits_of(context, file.precision, file.format)
    limits = limits_on(runtime.processor(), runtime.evidence(), limits, file.precision)
    static = {**context.sizes, **static_values(file.bytes, file.mobile_problems)}
    if (reason := runtime.unavailable()) is not None:
        say(f"validate: {path.name} was not run: {reason}")
        return unexecuted(runtime, reason, limits, static), None, None
    name, folder = runtime.title(), context.work.folder
    embeddings = context.work.state / "embeddings" / f"{path.name}-{name}.npz"

    def build(_: Path) -> _Outcome:
        say(f"validate: {path.name} on {name}")
        embedding = context.model.embedding
        others = context.photographs.pixels if context.photographs is not None and runtime.timed() else {}
        done = measure(runtime, path, context.reference, context.held_out, context.validation.checks, embedding, others)
        if done.observation is None:
            return _Outcome(measurement=done.measurement, failure=done.failure, ranked=None)
        _save(embeddings, sample(done.observation, context.held_out, done.part))
        overlap = neighbour_overlap(golden, gallery, done.observation.probes)
        apart = separation(golden.embeddings, done.observation.probes, golden.broken, embedding)
        photos = None
        if context.photographs is not None and done.further:
            rows = context.photographs.rows
            photos = judge_ways(done.observation, rows, others, done.further, context.held_out, embedding)
        ranker = Rankings(context.held_out, gallery, context.model.classes, embedding)
        return _Outcome(
            measurement=done.measurement.model_copy(
                update={"neighbours": overlap, "separation": apart, "photos": photos}
            ),
            failure=None,
            ranked=ranker.of(done.observation, file.path, name) if done.part is None else None,
        )

    key = {
        **context.key,
        "artifact": file.sha256,
        "runtime": {name: runtime.options()},
        "version": runtime.version(),
        **({"runtime_code": code} if (code := code_key(runtime)) else {}),
        "golden": artifact_sha256(folder / "golden"),
        "gallery": artifact_sha256(folder / GALLERY),
    }
    outcome = context.work.reuse_as(_Outcome, f"validate-{path.name}-{name}", key, [embeddings], build)
    measurement = outcome.measurement
    if (parity := measurement.parity) is not None:
        picture = write_worst(folder, f"{path.name}.{name}", parity.worst_image, context.held_out)
        measurement = measurement.model_copy(update={"parity": parity.model_copy(update={"worst_image_file": picture})})
    execution = executed(runtime, measurement, outcome.failure, limits, static)
    return execution, None if outcome.failure is not None else embeddings, outcome.ranked


def _save(path: Path, embeddings: Sample) -> None:
    arrays: dict[str, Any] = {"queries": embeddings.queries, "gallery": embeddings.gallery}
    if (part := embeddings.part) is not None:
        arrays |= {"query_rows": part.queries, "gallery_rows": part.gallery}
    with atomic(path) as unfinished:
        np.savez(unfinished, **arrays)


def load_samples(checked: Sequence[Checked]) -> dict[str, Sample]:
    """Load the embeddings of every file that was executed, by the name in the compatibility matrix."""
    found = {}
    for each in checked:
        for name, path in each.samples.items():
            with np.load(path) as arrays:
                part = HeldOutPart(arrays["query_rows"], arrays["gallery_rows"]) if "query_rows" in arrays else None
                found[name] = Sample(arrays["queries"], arrays["gallery"], part)
    return found
