"""The compatibility matrix as a heat map: one artifact made the gallery, another asks."""

from __future__ import annotations

from dataclasses import dataclass

from compress.report.numbers import is_number, score
from compress.report.source import Source


@dataclass(frozen=True)
class Cell:
    """Attributes: text: the mAP; shade: 0 (lowest of all) to 1 (highest); own: gallery and query by the same file."""

    text: str
    shade: float
    own: bool


@dataclass(frozen=True)
class HeatMap:
    """Attributes: columns: who asks; rows: who made the gallery, with a cell for each column; low, high: of all."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    low: str
    high: str


_FLAT = 0.01
"""A smaller range than this is not stretched over all shades, or noise would look like a difference."""


def heat_map(source: Source) -> HeatMap | None:
    """None where fewer than two models were compared."""
    matrix = source.manifest.compatibility
    names = {artifact.path: source.name_of(artifact) for artifact in source.manifest.artifacts}
    names["pytorch"] = "PyTorch"
    values = [value for row in matrix.values() for value in row.values() if is_number(value)]
    if len(matrix) < 2 or not values:
        return None
    low, high = min(values), max(values)
    span = max(high - low, _FLAT)
    return HeatMap(
        tuple(names.get(asking, asking) for asking in matrix),
        tuple(
            (
                names.get(indexed, indexed),
                tuple(
                    Cell(
                        score(row.get(asking)),
                        round(1 - (high - value) / span, 3) if is_number(value := row.get(asking)) else 0.0,
                        indexed == asking,
                    )
                    for asking in matrix
                ),
            )
            for indexed, row in matrix.items()
        ),
        score(low),
        score(high),
    )
