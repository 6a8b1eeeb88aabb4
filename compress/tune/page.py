"""The page of a search: its front as charts, and every trial in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from compress.report.axis import axis
from compress.report.charts import Chart, Table, point_chart
from compress.report.page import template
from compress.system.files import write_text
from compress.tune.budget import Budget
from compress.tune.outcome import Outcome, pareto_front

REPORT = "report.html"


def write_page(folder: Path, name: str, outcomes: Sequence[Outcome], best: Outcome | None, budget: Budget) -> Path:
    """Write ``report.html`` into the search's folder, atomically; it loads nothing."""
    path, front = folder / REPORT, pareto_front(outcomes)
    text = template("compress.tune", "tune.html.j2").render(
        name=name,
        best=best,
        front={each.number for each in front},
        charts_drawn=front_charts(outcomes),
        outcomes=[*front, *(each for each in outcomes if each not in front)],
        limits=[f"{key} < {limit:g}" for key, limit in (("ms", budget.ms), ("bytes", budget.bytes)) if limit],
    )
    write_text(path, text)
    return path


def front_charts(outcomes: Sequence[Outcome]) -> list[Chart]:
    """mAP against time, and against bytes: the front and the recipe as it is."""
    shown = {each.number: each for each in [*pareto_front(outcomes), *outcomes[:1]] if each.state == "measured"}
    if not shown:
        return []
    trials = [shown[number] for number in sorted(shown)]
    return [
        _chart("ms", "mAP and time", "milliseconds, one image, one thread", trials, lambda each: each.ms or 0.0),
        _chart("bytes", "mAP and size", "size in MB", trials, lambda each: (each.bytes or 0) / 1e6),
    ]


def _chart(key: str, title: str, label: str, trials: Sequence[Outcome], cost: Callable[[Outcome], float]) -> Chart:
    points = [(trial_name(each), cost(each), each.mean_ap or 0.0) for each in trials]
    best = max(points, key=lambda point: (point[2], -point[1]))
    return point_chart(
        key,
        title,
        f"{len(points)} trials. Highest mAP: {best[0]} with {best[2]:.4f} at {label} {best[1]:.3g}.",
        axis(label, [spent for _, spent, _ in points], zero=True),
        axis("mAP", [found for _, _, found in points], least=0.02, inside=(0.0, 1.0)),
        points,
        Table(title, ("trial", label, "mAP"), tuple((name, f"{x:.3g}", f"{y:.4f}") for name, x, y in points)),
    )


def trial_name(outcome: Outcome) -> str:
    return "0, as it is" if outcome.number == 0 else str(outcome.number)
