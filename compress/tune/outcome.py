"""What came of one trial, and which trials no other one dominates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from compress.tune.budget import Budget

State = Literal["measured", "over budget", "stopped early", "refused"]
_DIGITS = 2
"""Times are compared to this many digits: two measurements of one file differ by about a percent."""


@dataclass(frozen=True)
class Outcome:
    """One trial.

    Attributes:
        number: 0 is the recipe as it is.
        values: key -> value, as text, of every tuned key.
        state: ``over budget`` trials were not trained, ``stopped early`` ones had a lower validation mAP than cheaper
            trials at that time, ``refused`` ones failed a gate or could not be trained.
        reason: why it was not measured.
        mean_ap: mAP of the exported file, or of a stopped network, among the validation images.
        ms: processor time of the file for one image on one thread, in milliseconds.
        bytes: size of the file.
        sha256: of the file.
        reports: share of the training in percent -> best validation mAP until then.
        recipe: the trial's resolved recipe.
    """

    number: int
    values: Mapping[str, str]
    state: State
    reason: str | None = None
    mean_ap: float | None = None
    ms: float | None = None
    bytes: int | None = None
    sha256: str | None = None
    reports: Mapping[int, float] = field(default_factory=dict)
    recipe: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Outcome:
        reports = {int(step): value for step, value in values["reports"].items()}
        return cls(**{**values, "reports": reports})

    @property
    def costs(self) -> tuple[float, float]:
        """Milliseconds, to two digits, and bytes; of a measured trial."""
        assert self.ms is not None and self.bytes is not None
        return float(f"{self.ms:.{_DIGITS}g}"), float(self.bytes)

    def dominates(self, other: Outcome) -> bool:
        """Whether nothing of ``other`` is better and something is worse; both are measured."""
        assert self.mean_ap is not None and other.mean_ap is not None
        ours, theirs = (-self.mean_ap, *self.costs), (-other.mean_ap, *other.costs)
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def pareto_front(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The measured trials that no other one dominates, best mAP first; of equal ones the first."""
    measured = [each for each in outcomes if each.state == "measured"]
    front: list[Outcome] = []
    for each in sorted(measured, key=_best_first):
        equal = any((each.mean_ap, each.costs) == (kept.mean_ap, kept.costs) for kept in front)
        if not equal and not any(other.dominates(each) for other in measured):
            front.append(each)
    return front


def chosen(outcomes: Sequence[Outcome], budget: Budget) -> Outcome | None:
    """The trial within the budget that has the best mAP, of equal ones the fastest; None if none is within."""
    within = [each for each in pareto_front(outcomes) if budget.meets(each.ms or 0.0, each.bytes or 0)]
    return within[0] if within else None


def _best_first(outcome: Outcome) -> tuple[float, float, float, int]:
    return -(outcome.mean_ap or 0.0), *outcome.costs, outcome.number
