"""One artifact on one runtime: execute it in a child process, then run every check on what it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress.contracts import Check, EmbeddingSpec, Gate, HeldOut, Latency, Observation, Runtime
from validators.gates import evaluate_gates
from validators.isolation import execute

WARM_UP, TIMED = 10, 100
"""Single-image runs behind a latency."""


def measure(
    runtime: Runtime,
    path: Path,
    reference: Observation,
    held_out: HeldOut,
    checks: Sequence[Check],
    embedding: EmbeddingSpec,
) -> tuple[dict[str, Any], Observation | None]:
    """Run and compare.

    Returns:
        The values of each check under its section, ``latency_ms`` (None for evidence ``reference``: that time is no
        device's), ``notes`` of the runtime, and ``failure`` (None, or why nothing ran); and the artifact's own
        embeddings, None if it failed.
    """
    images = {"queries": held_out.queries.images, "probes": held_out.probes}
    if not held_out.leave_one_out and not held_out.multi_scale:
        images["gallery"] = held_out.gallery.images
    # A second per image is far more than any artifact needs, and bounds a hang.
    timeout_s = 600 + sum(len(array) for array in images.values())
    latency = None if runtime.evidence == "reference" else (WARM_UP, TIMED)
    done = execute(runtime, path, images, latency=latency, timeout_s=timeout_s)
    if done.outputs is None:
        nothing = {check.section: None for check in checks}
        return {**nothing, "latency_ms": None, "notes": [], "failure": done.failure}, None
    queries = done.outputs["queries"]
    gallery = reference.gallery if held_out.multi_scale else done.outputs.get("gallery", queries)
    candidate = Observation(queries, gallery, done.outputs["probes"])
    sections = {check.section: dict(check.run(reference, candidate, held_out, embedding)) for check in checks}
    return {
        **sections,
        "latency_ms": _timing(done.latency, reference.latency),
        "notes": list(done.notes),
        "failure": None,
    }, candidate


def _timing(found: Latency | None, pytorch: Latency | None) -> dict[str, Any] | None:
    """``ratio`` is to the PyTorch model on one thread of the same machine; None in verify, which has no such model."""
    if found is None:
        return None
    return {**asdict(found), "ratio": found.median / pytorch.median if pytorch else None}


def static_values(file: Mapping[str, Any], sizes: Mapping[str, float]) -> dict[str, float]:
    """What gates may limit without executing anything: the model's ``sizes``, and what the file itself tells."""
    values = {**sizes, "bytes": file["bytes"]}
    if "pytorch_mobile" in file:
        values["mobile_problems"] = len(file["pytorch_mobile"]["problems"])
    return values


def entry(
    runtime: Runtime, result: Mapping[str, Any], limits: Mapping[str, float], static: Mapping[str, float]
) -> dict[str, Any]:
    """What ``measure`` gave (as JSON values) in the form of bundle.json, with its gates."""
    failure = result["failure"]
    if runtime.evidence == "reference":
        limits = {name: limit for name, limit in limits.items() if name not in ("latency_ms", "latency_ratio")}
    return {
        "runtime": runtime.title(),
        "runtime_version": runtime.version(),
        "evidence": runtime.evidence if failure is None else "not-run",
        "reason": failure,
        **{section: values for section, values in result.items() if section != "failure"},
        "gates": [asdict(g) for g in gate(limits, result, static)],
    }


def unexecuted(
    runtime: Runtime, reason: str, checks: Sequence[Check], limits: Mapping[str, float], static: Mapping[str, float]
) -> dict[str, Any]:
    """The entry of an artifact whose runtime is not here; only what needs no execution is held against limits."""
    known = {name: limit for name, limit in limits.items() if name in static}
    return {
        "runtime": runtime.title(),
        "runtime_version": None,
        "evidence": "not-run",
        "reason": reason,
        **{check.section: None for check in checks},
        "latency_ms": None,
        "notes": [],
        "gates": [asdict(g) for g in evaluate_gates(known, static)],
    }


def gate(limits: Mapping[str, float], result: Mapping[str, Any], static: Mapping[str, float]) -> tuple[Gate, ...]:
    """Hold what ``measure`` gave, and ``static`` values such as bytes, against the limits.

    An artifact that did not run fails the gate ``runs`` and no other: nothing else was measured.
    """
    if result["failure"] is not None:
        return (
            Gate("runs", 1, 0, False),
            *evaluate_gates({name: limits[name] for name in limits if name in static}, static),
        )
    values: dict[str, float] = dict(static)
    for section in result.values():
        if isinstance(section, Mapping):
            values.update({name: value for name, value in section.items() if isinstance(value, int | float)})
    if result["latency_ms"]:
        values["latency_ms"] = result["latency_ms"]["median"]
        values["latency_ratio"] = result["latency_ms"]["ratio"]
    return evaluate_gates(limits, values)
