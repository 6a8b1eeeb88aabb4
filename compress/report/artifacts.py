"""The table: format and precision against bytes, latency, parity, mAP, evidence and gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.report.numbers import NOTHING, change, cosine, megabytes, milliseconds, percent, score, short
from compress.report.source import Source


@dataclass(frozen=True)
class Judged:
    """A gate: what was measured, the limit, and whether it holds."""

    name: str
    value: str
    limit: str
    passed: bool


@dataclass(frozen=True)
class Row:
    """One artifact on one runtime; numbers as text, ``-`` where nothing was measured.

    Attributes:
        evidence: native, older-runtime, reference or not-run.
        overlap: share of the ten nearest that PyTorch finds, too.
        flipped: share of the bits of a code that differ from PyTorch's.
        remarks: why it was not run, what the runtime noticed, what PyTorch Mobile would refuse.
    """

    name: str
    path: str
    runtime: str
    evidence: str
    size: str
    latency: str
    latency_p95: str
    parity: str
    overlap: str
    flipped: str
    mean_ap: str
    drop: str
    gates: tuple[Judged, ...]
    remarks: tuple[str, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(gate.name for gate in self.gates if not gate.passed)

    def gate(self, name: str) -> Judged | None:
        return next((gate for gate in self.gates if gate.name == name), None)


def rows(source: Source) -> list[Row]:
    """In the order of the manifest."""
    return [_row(source, entry) for entry in source.entries]


def _row(source: Source, entry: Mapping[str, Any]) -> Row:
    parity, retrieval, latency = (entry.get(key) or {} for key in ("parity", "retrieval", "latency_ms"))
    drop = retrieval.get("mAP_drop")
    return Row(
        name=source.name_of(entry),
        path=entry["path"],
        runtime=entry.get("runtime_version") or entry["runtime"],
        evidence=entry["evidence"],
        size=megabytes(entry["bytes"]),
        latency=milliseconds(latency.get("median")),
        latency_p95=milliseconds(latency.get("p95")),
        parity=cosine(parity.get("min_cosine")),
        overlap=score(parity.get("top10_overlap")),
        flipped=percent(parity.get("bit_flip_rate")),
        mean_ap=score(retrieval.get("mAP")),
        drop=change(-drop) if drop is not None else NOTHING,
        gates=tuple(Judged(g["name"], short(g["value"]), short(g["limit"]), bool(g["passed"])) for g in entry["gates"]),
        remarks=_remarks(entry),
    )


def _remarks(entry: Mapping[str, Any]) -> tuple[str, ...]:
    found = [f"Not run: {entry['reason']}"] if entry.get("reason") else list(entry.get("notes") or ())
    found += [problem for key in ("parity", "retrieval") if (problem := (entry.get(key) or {}).get("problem"))]
    mobile = (entry.get("pytorch_mobile") or {}).get("problems", ())
    return (*dict.fromkeys(found), *(f"PyTorch Mobile would refuse it: {problem}" for problem in mobile))
