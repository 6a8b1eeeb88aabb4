"""Show what an mAP consists of: precision over recall, and average precision by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compress.bundle.rankings import RankedModel, UnrankedModel
from compress.report.axis import axis
from compress.report.charts import Chart, Table, line_chart
from compress.report.numbers import change, score
from compress.report.source import Source
from validators.curves import RECALL

_SAME = 0.001
"""Curves that differ by at most this much everywhere are drawn as one."""
_FEW = 24
"""At most this many classes are shown at once; if there are more, the worst and the best."""


@dataclass(frozen=True)
class ClassRow:
    """The average precision of one class.

    Attributes:
        name: name of the class.
        value: the PyTorch model's average precision, 0 to 1.
        worst: the artifact that loses most, and its difference; empty if no artifact differs by more than 0.0005.
    """

    name: str
    value: float
    worst: str


def models(source: Source) -> list[tuple[str, RankedModel]]:
    """Name and rankings of every model that could be ranked, PyTorch first."""
    if source.rankings is None:
        return []
    names = source.names()
    return [
        ("PyTorch" if model.runtime is None else names[model.path, model.runtime], model)
        for model in source.rankings.models
        if isinstance(model, RankedModel) and (model.runtime is None or (model.path, model.runtime) in names)
    ]


def unranked(source: Source) -> list[UnrankedModel]:
    """The models whose output could not be ranked."""
    found = () if source.rankings is None else source.rankings.models
    return [model for model in found if isinstance(model, UnrankedModel)]


def precision_recall_chart(source: Source) -> Chart | None:
    """One line for PyTorch and the artifacts that rank as it does, one for each that does not."""
    ranked = [(name, curve) for name, model in models(source) if len(curve := _known(model.precision)) == len(RECALL)]
    if not ranked or source.rankings is None:
        return None
    groups: list[tuple[list[str], Sequence[float]]] = []
    for name, curve in ranked:
        same = next((group for group in groups if _distance(group[1], curve) <= _SAME), None)
        if same is None:
            groups.append(([name], curve))
        else:
            same[0].append(name)
    recall = source.rankings.recall
    first = groups[0][1]
    everyone = f"All {len(ranked)} models lie within {_SAME} of each other. " if len(groups) == 1 else ""
    return line_chart(
        "precision-recall",
        "Precision over recall",
        f"{everyone}PyTorch: precision {score(first[0])} at the first hit, {score(first[len(first) // 2])} at half the "
        f"relevant images, {score(first[-1])} when the last is found.",
        axis("recall", [0.0, 1.0]),
        axis("precision", [0.0, 1.0]),
        [(_names(names), list(zip(recall, curve, strict=True))) for names, curve in groups],
        Table(
            "Precision at each recall",
            ("recall", *(name for name, _ in ranked)),
            tuple(
                (f"{level:.2f}", *(score(curve[number]) for _, curve in ranked)) for number, level in enumerate(recall)
            ),
        ),
    )


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} within {_SAME}: {', '.join(names[1:])}"


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def class_rows(source: Source) -> tuple[list[ClassRow], list[ClassRow]]:
    """The classes to show, hardest first, and those to fold away in between; classes without queries are left out."""
    ranked = models(source)
    if not ranked or source.rankings is None or ranked[0][0] != "PyTorch":
        return [], []
    pytorch, others = ranked[0][1].class_ap, ranked[1:]
    rows = [
        ClassRow(name, value, _worst(value, number, others))
        for number, (name, value) in enumerate(zip(source.rankings.classes, pytorch, strict=True))
        if value is not None
    ]
    rows.sort(key=lambda row: (row.value, row.name))
    if len(rows) <= _FEW:
        return rows, []
    half = _FEW // 2
    return rows[:half] + rows[-half:], rows[half:-half]


def _worst(expected: float, number: int, others: Sequence[tuple[str, RankedModel]]) -> str:
    found = [(value - expected, name) for name, model in others if (value := model.class_ap[number]) is not None]
    difference, name = min(found, default=(0.0, ""))
    return f"{change(difference)} {name}" if difference < -0.0005 else ""
