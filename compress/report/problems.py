"""List what failed; failures of the same kind are summed up in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One failure, or several of the same kind.

    Attributes:
        summary: one line.
        lines: the failures that are summed up; empty for a single failure.
    """

    summary: str
    lines: tuple[str, ...] = ()


def problems(failures: Sequence[str]) -> list[Problem]:
    """Group the lines of ``Manifest.failures``: those of one gate together, and those of all controls."""
    alike: dict[str, list[str]] = {}
    for line in failures:
        where, _, what = line.partition(": ")
        alike.setdefault("" if where.startswith("control ") else what.partition(" ")[0], []).append(line)
    return [
        Problem(lines[0]) if len(lines) == 1 else Problem(_summary(gate, len(lines)), tuple(lines))
        for gate, lines in alike.items()
    ]


def _summary(gate: str, count: int) -> str:
    return f"{gate} failed {count} times" if gate else f"{count} controls passed unnoticed"
