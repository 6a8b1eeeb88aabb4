"""Show how training went: one chart for each number that the stages logged epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compress.report.axis import axis, counting_axis
from compress.report.charts import Chart, Table, line_chart
from compress.report.numbers import NOTHING, is_number, short

_NO_CURVE = {"epoch", "step", "lr"}


@dataclass
class _Stretch:
    """Consecutive epochs of one stage: ``epochs`` holds (number over the whole run, logged line)."""

    name: str
    epochs: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)


def training_charts(metrics: Iterable[Mapping[str, Any]]) -> list[Chart]:
    """Draw charts over the epochs of all stages one after the other; none if nothing was trained."""
    stretches = _stretches(metrics)
    keys = dict.fromkeys(
        key
        for stretch in stretches
        for _, line in stretch.epochs
        for key, value in line.items()
        if key not in _NO_CURVE and is_number(value)
    )
    return [_chart(key, stretches) for key in keys]


def _stretches(metrics: Iterable[Mapping[str, Any]]) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    total, last = 0, 0
    for line in metrics:
        if not is_number(line.get("epoch")):
            continue
        step = line.get("step")
        name = str(line.get("stage", "train")) + (f" {step}" if step is not None else "")
        if not stretches or stretches[-1].name != name or line["epoch"] <= last:
            stretches.append(_Stretch(name))
        total, last = total + 1, line["epoch"]
        stretches[-1].epochs.append((total, line))
    return stretches


def _chart(key: str, stretches: Sequence[_Stretch]) -> Chart:
    title = key.replace("_", " ")
    title = title[0].upper() + title[1:]
    lines = [
        (stretch.name, [(epoch, line[key]) for epoch, line in stretch.epochs if is_number(line.get(key))])
        for stretch in stretches
    ]
    lines = [(name, points) for name, points in lines if points]
    values = [value for _, points in lines for _, value in points]
    share = all(0 <= value <= 1 for value in values)
    first, last = values[0], values[-1]
    says = f"{title} over {len(values)} epochs: {short(first)} after the first, {short(last)} after the last"
    return line_chart(
        f"training-{key}",
        title,
        f"{says}; lowest {short(min(values))}, highest {short(max(values))}.",
        counting_axis("epoch", stretches[-1].epochs[-1][0]),
        axis(title, values, zero=not share, least=0.02, inside=(0.0, 1.0) if share else None),
        lines,
        Table(f"{title} by epoch", ("epoch", "stage", title, "learning rate"), _rows(key, stretches)),
        marks=[(points[0][0] - 0.5, name) for name, points in lines[1:]],
    )


def _rows(key: str, stretches: Sequence[_Stretch]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (str(epoch), stretch.name, short(line[key]), short(line["lr"]) if is_number(line.get("lr")) else NOTHING)
        for stretch in stretches
        for epoch, line in stretch.epochs
        if is_number(line.get(key))
    )
