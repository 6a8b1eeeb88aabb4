"""The table of artifacts: format and precision, with bytes, latency, parity, mAP, evidence and gates."""

from __future__ import annotations

from dataclasses import dataclass

from compress.bundle.manifest import Entry
from compress.bundle.processors import where
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
    """One artifact on one runtime; numbers as text, ``-`` if nothing was measured.

    Attributes:
        evidence: the kind of evidence, such as native or not-run.
        where: the kind of processor, or the device.
        overlap: share of the ten nearest images that PyTorch also finds.
        flipped: share of a code's bits that differ from PyTorch's.
        remarks: why it was not run, notes of the runtime, and why PyTorch Mobile would refuse it.
    """

    name: str
    path: str
    runtime: str
    evidence: str
    where: str
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
    """Make the rows of the table, in the order of the manifest."""
    return [_row(source, entry) for entry in source.entries]


def _row(source: Source, entry: Entry) -> Row:
    parity, retrieval, latency = entry.parity, entry.retrieval, entry.latency_ms
    drop = None if retrieval is None else retrieval.mAP_drop
    return Row(
        name=source.name_of(entry),
        path=entry.path,
        runtime=entry.runtime_version or entry.runtime,
        evidence=entry.evidence,
        where=where(entry),
        size=megabytes(entry.bytes),
        latency=NOTHING if latency is None else milliseconds(latency.median),
        latency_p95=NOTHING if latency is None else milliseconds(latency.p95),
        parity=NOTHING if parity is None else cosine(parity.min_cosine),
        overlap=NOTHING if parity is None else score(parity.top10_overlap),
        flipped=NOTHING if parity is None else percent(parity.bit_flip_rate),
        mean_ap=NOTHING if retrieval is None else score(retrieval.mAP),
        drop=NOTHING if drop is None else change(-drop),
        gates=tuple(Judged(g.name, short(g.value), short(g.limit), g.passed) for g in entry.gates),
        remarks=_remarks(entry),
    )


def _remarks(entry: Entry) -> tuple[str, ...]:
    found = [f"Not run: {entry.reason}"] if entry.reason else list(entry.notes)
    found += [part.problem for part in (entry.parity, entry.retrieval) if part is not None and part.problem]
    mobile = entry.mobile_problems or ()
    return (*dict.fromkeys(found), *(f"PyTorch Mobile would refuse it: {problem}" for problem in mobile))
