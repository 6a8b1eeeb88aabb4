"""Show what artifacts cost and how well they search: mAP against bytes and against latency."""

from __future__ import annotations

from collections.abc import Callable

from compress.bundle.manifest import Entry
from compress.report.axis import axis
from compress.report.charts import Chart, Table, point_chart
from compress.report.numbers import is_number, score, short
from compress.report.source import Source


def tradeoff_charts(source: Source) -> list[Chart]:
    """Draw mAP against bytes, then against latency; each chart needs at least one artifact with that measurement."""
    charts = (
        _chart(source, "bytes", "mAP and size", "size in MB", lambda entry: entry.bytes / 1e6),
        _chart(source, "latency", "mAP and latency", "median latency in ms, one image", _latency),
    )
    return [chart for chart in charts if chart is not None]


def _latency(entry: Entry) -> float | None:
    return None if entry.latency_ms is None else entry.latency_ms.median


def _chart(source: Source, key: str, title: str, label: str, cost: Callable[[Entry], float | None]) -> Chart | None:
    points = []
    for entry in source.entries:
        found, spent = None if entry.retrieval is None else entry.retrieval.mAP, cost(entry)
        if is_number(found) and is_number(spent):
            points.append((source.name_of(entry), spent, found))
    if not points:
        return None
    pytorch = source.manifest.source.mAP
    heights = [found for _, _, found in points] + ([pytorch] if is_number(pytorch) else [])
    best = max(points, key=lambda point: (point[2], -point[1]))
    cheapest = min(points, key=lambda point: point[1])
    return point_chart(
        f"tradeoff-{key}",
        title,
        f"{len(points)} artifacts. Cheapest: {cheapest[0]} with {label} {short(cheapest[1])} and mAP "
        f"{score(cheapest[2])}. Highest mAP: {best[0]} with {score(best[2])}.",
        axis(label, [spent for _, spent, _ in points], zero=True),
        axis("mAP", heights, least=0.02, inside=(0.0, 1.0)),
        points,
        Table(
            f"{title} of every artifact that was measured",
            ("artifact", label, "mAP"),
            tuple((name, short(spent), score(found)) for name, spent, found in points),
        ),
        rules=[(pytorch, "PyTorch")] if is_number(pytorch) else [],
    )
