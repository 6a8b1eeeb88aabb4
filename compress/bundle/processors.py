"""Say where an artifact was executed and what came of it, in few words: rows of the table, and one matrix.

The matrix has a row per artifact and a column per kind of processor or device, for who must decide whether to ship.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from compress.bundle.manifest import Entry
from compress.contracts import BadInput, Evidence
from validators.results import Execution

Outcome = Literal["FAILED", "refused", "passed", "not run", "-"]
"""What came of an artifact on a processor, the gravest first; ``-`` is a runtime that nobody tried."""

_KINDS = {"x86": "x86", "arm": "Arm", "gpu": "GPU", "npu": "NPU", "browser": "browser"}
_ORDER = ("CPU", "x86", "Arm", "older", "GPU", "NPU", "browser", "reference")
_QUALIFIERS: dict[Evidence, str] = {"gpu-software": "software", "emulated-arm": "emulated"}


@dataclass(frozen=True)
class Column:
    """A kind of processor, or one device.

    Attributes:
        name: ``x86``, ``Arm``, ``older`` (an older runtime), ``GPU``, ``browser``, ``reference``, a device's model, or
            ``CPU`` in bundles of older versions.
        qualifier: ``software`` or ``emulated`` if everything in the column is; otherwise empty.
    """

    name: str
    qualifier: str


@dataclass(frozen=True)
class Matrix:
    """What came of each artifact on each kind of processor.

    Attributes:
        rows: an artifact, such as ``.tflite fp32``, with one outcome per column.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Outcome, ...]], ...]


def outcome(execution: Execution) -> Outcome:
    """What came of one execution. ``refused``: the runtime is there, but did not execute the file."""
    failed = {gate.name for gate in execution.failed}
    if "runs" in failed:
        return "refused"
    if failed:
        return "FAILED"
    return "not run" if execution.evidence == "not-run" else "passed"


def place(execution: Execution) -> str:
    """The name of the execution's column."""
    if execution.device is not None:
        kind = execution.processor
        return execution.device.model if kind in ("arm", "x86", None) else f"{execution.device.model} {_KINDS[kind]}"
    evidence = _planned(execution)
    if evidence in ("reference", "older-runtime"):
        return {"reference": "reference", "older-runtime": "older"}[evidence]
    return _KINDS[execution.processor] if execution.processor is not None else "CPU"


def where(execution: Execution) -> str:
    """Where one execution ran or was to run, such as ``x86``, ``Arm emulated`` or ``x86 no xnnpack``."""
    name = place(execution)
    if execution.device is not None:
        return name
    _, without, what = execution.runtime.partition("-without-")
    if without:
        return f"{name} no {what}"
    if name == "older" and execution.processor is not None:
        return f"{_KINDS[execution.processor]}, older"
    return f"{name} {_QUALIFIERS[execution.evidence]}" if execution.evidence in _QUALIFIERS else name


def matrix(entries: Iterable[Entry]) -> Matrix:
    """Arrange entries by artifact and processor; of several runtimes in one cell the gravest outcome counts."""
    entries = tuple(entries)
    columns = tuple(_columns(entries))
    rows = []
    for path in dict.fromkeys(entry.path for entry in entries):
        own = [entry for entry in entries if entry.path == path]
        cells = (_gravest([outcome(entry) for entry in own if place(entry) == column.name]) for column in columns)
        rows.append((f"{own[0].suffix} {own[0].precision}", tuple(cells)))
    return Matrix(columns, tuple(rows))


def _columns(entries: Sequence[Entry]) -> Iterator[Column]:
    devices = {place(entry) for entry in entries if entry.device is not None}
    found = dict.fromkeys(place(entry) for entry in entries)
    for name in sorted(
        found, key=lambda each: (each in devices, _ORDER.index(each) if each in _ORDER else len(_ORDER))
    ):
        ran = {entry.evidence for entry in entries if place(entry) == name and entry.evidence != "not-run"}
        (only,) = ran if len(ran) == 1 else (None,)
        yield Column(name, _QUALIFIERS.get(only, "") if only is not None else "")


def _gravest(outcomes: Sequence[Outcome]) -> Outcome:
    return min(outcomes, key=get_args(Outcome).index, default="-")


def _planned(execution: Execution) -> Evidence:
    """The evidence that the runtime gives; of one that did not execute, as it says itself."""
    if execution.evidence != "not-run":
        return execution.evidence
    from validators import runtime_named

    try:
        return runtime_named(execution.runtime).evidence()
    except BadInput:  # a runtime of another version
        return "not-run"
