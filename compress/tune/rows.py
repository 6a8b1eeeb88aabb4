"""The trials of a search as rows of the terminal's table."""

from __future__ import annotations

from collections.abc import Sequence

from compress.tune.outcome import Outcome, pareto_front

Row = tuple[str, str, str, str, str]


def rows(outcomes: Sequence[Outcome], chosen: Outcome | None) -> list[Row]:
    """The recipe as it is, then the front, best mAP first; the last cell says what a trial changes."""
    front = pareto_front(outcomes)
    first = [each for each in outcomes[:1] if each not in front]
    return [_row(each, outcomes[0], chosen) for each in (*first, *front)]


def _row(outcome: Outcome, first: Outcome, chosen: Outcome | None) -> Row:
    changed = [f"{key} {value}" for key, value in outcome.values.items() if first.values.get(key) != value]
    words = "the recipe as it is" if outcome.number == 0 else "; ".join(changed)
    return (
        f"{outcome.number}{' chosen' if outcome == chosen else ''}",
        "-" if outcome.mean_ap is None else f"{outcome.mean_ap:.4f}",
        "-" if outcome.ms is None else f"{outcome.ms:.3g}",
        "-" if outcome.bytes is None else f"{outcome.bytes:,}",
        words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…",
    )


_LONGEST = 44
