"""The compatibility matrix as a heat map: one artifact made the gallery, another makes the queries."""

from __future__ import annotations

from dataclasses import dataclass

from compress.bundle.manifest import compared
from compress.report.numbers import is_number, score
from compress.report.source import Source


@dataclass(frozen=True)
class Cell:
    """One cell of the heat map.

    Attributes:
        text: the mAP.
        shade: 0 (lowest of all) to 1 (highest).
        own: whether the same file made gallery and queries.
    """

    text: str
    shade: float
    own: bool


@dataclass(frozen=True)
class HeatMap:
    """The mAP of all pairs of artifacts.

    Attributes:
        columns: the artifacts that make the queries.
        rows: the artifacts that made the gallery, each with a cell for each column.
        low, high: lowest and highest mAP of all cells.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    low: str
    high: str


_FLAT = 0.01
"""A smaller range than this is not stretched over all shades, because noise would look like a difference."""


def heat_map(source: Source) -> HeatMap | None:
    """Make the heat map; None if fewer than two models were compared."""
    matrix = source.manifest.compatibility
    names: dict[str, str] = {}
    for artifact in source.manifest.artifacts:
        keys = compared(artifact)
        here = [entry for entry in artifact.entries() if entry.device is None and entry.runtime in keys]
        names |= {keys[entry.runtime]: source.name_of(entry) for entry in here}
    names |= {"pytorch": "PyTorch", "old": "old model"}
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
