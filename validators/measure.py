"""Measure one artifact on one runtime: execute it in a child process, then run every check on its embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from compress.contracts import (
    BadInput,
    Check,
    EmbeddingSpec,
    HeldOut,
    ImageArray,
    Latency,
    Observation,
    Runtime,
    Verdict,
)
from validators import MachineFailed
from validators.gates import STATIC, evaluate_gates, located_all
from validators.held_out_part import HeldOutPart, affordable_part
from validators.isolation import execute
from validators.results import AccelerationResult, Execution, Gate, LatencyResult, Measurement, OwnChecks

WARM_UP, TIMED = 10, 100
"""Number of single-image runs for a latency: warm-up, measured."""


def static_values(size: int, mobile_problems: Sequence[str] | None) -> dict[str, float]:
    """The values of a file that gates can limit without executing it, by location.

    Args:
        size: size of the file in bytes.
        mobile_problems: why PyTorch Mobile would refuse a TorchScript file; None for another format.
    """
    problems = {} if mobile_problems is None else {"file.mobile_problems": len(mobile_problems)}
    return {"file.bytes": size, **problems}


@dataclass(frozen=True)
class Measured:
    """The result of executing an artifact.

    Attributes:
        measurement: the measurements; empty if the artifact failed.
        failure: why the artifact did not run, or None.
        observation: the artifact's own embeddings; None if it failed.
        part: the held-out images that they are of; None for all.
        further: the embeddings of ``measure``'s further images, by name; empty with a part.
    """

    measurement: Measurement
    failure: str | None
    observation: Observation | None
    part: HeldOutPart | None = None
    further: Mapping[str, np.ndarray] = field(default_factory=dict)


def measure(
    runtime: Runtime,
    path: Path,
    reference: Observation,
    held_out: HeldOut,
    checks: Sequence[Check],
    embedding: EmbeddingSpec,
    further: Mapping[str, ImageArray] | None = None,
) -> Measured:
    """Execute an artifact and run every check on its embeddings, on a part of the images if the runtime is slow.

    Args:
        further: other images to embed, uint8 [n, H, W, 3] by name; left out if only a part is executed.

    Raises:
        MachineFailed: the machine lacked memory, disk space or time; that says nothing about the artifact.
    """
    part = affordable_part(held_out, runtime.most_pixels(), runtime.most_images())
    partly = () if part is None else (part.note(held_out),)
    if part is not None:
        held_out, reference = part.of(held_out), part.observed(reference)
    images = {"queries": held_out.queries.images, "probes": held_out.probes}
    if not held_out.leave_one_out and not held_out.multi_scale:
        images["gallery"] = held_out.gallery.images
    others = {f"further-{name}": array for name, array in (further or {}).items()} if part is None else {}
    images |= others
    # A second per image is far more than any artifact needs, and bounds a hang.
    timeout_s = 600 + sum(len(array) for array in images.values())
    latency = (WARM_UP, TIMED) if runtime.timed() else None
    done = execute(runtime, path, images, latency=latency, timeout_s=timeout_s)
    if done.lacking is not None:
        raise MachineFailed(f"{done.failure}; free {done.lacking} and start the same command again")
    if done.outputs is None:
        return Measured(Measurement(), done.failure, None)
    queries = done.outputs["queries"]
    gallery = reference.gallery if held_out.multi_scale else done.outputs.get("gallery", queries)
    candidate = Observation(queries, gallery, done.outputs["probes"])
    sections = results_of(checks, reference, candidate, held_out, embedding)
    timed = _latency(done.latency, reference.latency)
    accelerated = None if done.acceleration is None else AccelerationResult(**asdict(done.acceleration))
    values = {**sections, "latency_ms": timed, "notes": (*done.notes, *partly), "acceleration": accelerated}
    embedded = {name.removeprefix("further-"): done.outputs[name] for name in others}
    return Measured(Measurement.model_validate(values), None, candidate, part, embedded)


def results_of(
    checks: Sequence[Check],
    reference: Observation,
    candidate: Observation,
    held_out: HeldOut,
    embedding: EmbeddingSpec,
) -> dict[str, object]:
    """Run every check: the parts of a ``Measurement``; those of checks of other packages are together in ``own``.

    Raises:
        BadInput: a check of another package raised an error, or gave no ``Verdict``.
    """
    found = {check.section: check.run(reference, candidate, held_out, embedding) for check in checks if check.section}
    verdicts = {}
    for check in checks:
        if check.section:
            continue
        try:
            verdict = check.run(reference, candidate, held_out, embedding)
        except Exception as error:  # whatever their code raises
            raise BadInput(f"validate.{check.component_name()}: {type(error).__name__}: {error}") from error
        if not isinstance(verdict, Verdict):
            raise BadInput(f"validate.{check.component_name()}: its run gave {verdict!r} and no Verdict")
        verdicts[check.component_name()] = verdict
    if verdicts:
        values: dict[str, dict[str, float | None]] = {
            name: {k: float(v) for k, v in each.values.items()} for name, each in verdicts.items()
        }
        failed = sum(not verdict.passed for verdict in verdicts.values())
        found["own"] = OwnChecks(failed=failed, values=values)
    return found


def _latency(found: Latency | None, pytorch: Latency | None) -> LatencyResult | None:
    """Compute the latency and its ratio to PyTorch's; the ratio is None in verify, which has no PyTorch model."""
    if found is None:
        return None
    return LatencyResult(**asdict(found), ratio=found.median / pytorch.median if pytorch else None)


def executed(
    runtime: Runtime,
    measurement: Measurement,
    failure: str | None,
    limits: Mapping[str, float],
    static: Mapping[str, float],
) -> Execution:
    """Judge a measurement.

    Args:
        limits: gate -> limit, as ``limits_on`` gives them for this runtime.
        static: values known without executing anything, by location: the file's bytes, the model's sizes.
    """
    return Execution(
        **dict(measurement),
        runtime=runtime.title(),
        runtime_version=runtime.version(),
        processor=runtime.processor(),
        evidence=runtime.evidence() if failure is None else "not-run",
        reason=failure,
        gates=judge(limits, measurement, failure, static),
    )


def unexecuted(runtime: Runtime, reason: str, limits: Mapping[str, float], static: Mapping[str, float]) -> Execution:
    """The entry of an artifact whose runtime is not installed; only values that need no execution are judged."""
    known = {name: limit for name, limit in limits.items() if name in STATIC}
    return Execution(
        runtime=runtime.title(),
        runtime_version=None,
        processor=runtime.processor(),
        evidence="not-run",
        reason=reason,
        gates=evaluate_gates(known, static),
    )


def judge(
    limits: Mapping[str, float], measurement: Measurement, failure: str | None, static: Mapping[str, float]
) -> tuple[Gate, ...]:
    """Compare the measured and the ``static`` values with the limits.

    An artifact that did not run fails only the gate ``runs``, because nothing else was measured.
    """
    if failure is not None:
        known = {name: limit for name, limit in limits.items() if name in STATIC}
        return (Gate(name="runs", limit=1, value=0, passed=False), *evaluate_gates(known, static))
    return evaluate_gates(limits, {**static, **located_all(measurement)})
