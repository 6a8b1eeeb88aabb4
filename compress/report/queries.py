"""Show some queries with the ten images that each model finds first."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from compress.bundle.rankings import RankedQuery
from compress.report.pictures import Picture, picture
from compress.report.retrieval import models
from compress.report.source import Source

_ROWS, _DIFFERENT = 10, 2
"""Number of queries shown for PyTorch, and for each artifact that differs."""


@dataclass(frozen=True)
class Found:
    """One image of a ranking."""

    rank: int
    name: str
    label: str
    right: bool
    picture: Picture | None


@dataclass(frozen=True)
class Ranking:
    """The first ten images of one model; ``right`` counts those of the query's class, or listed by the data set."""

    model: str
    found: tuple[Found, ...]

    @property
    def right(self) -> int:
        return sum(each.right for each in self.found)


@dataclass(frozen=True)
class Query:
    """A query image and the rankings of one or two models for it."""

    name: str
    label: str
    picture: Picture | None
    rankings: tuple[Ranking, ...]


@dataclass(frozen=True)
class Difference:
    """An artifact whose results differ: for how many queries it finds other images, or another order."""

    model: str
    other_images: int
    other_order: int
    of: int
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Examples:
    """The queries that the page shows.

    Attributes:
        queries: queries with the PyTorch model's ranking.
        differences: the artifacts whose first ten differ for any query.
        agreeing: names of the artifacts that find the same ten in the same order for every query.
        of: number of queries that were compared.
    """

    queries: tuple[Query, ...]
    differences: tuple[Difference, ...]
    agreeing: tuple[str, ...]
    of: int


def examples(source: Source) -> Examples | None:
    """Choose the queries to show; None if the bundle has no rankings of PyTorch."""
    ranked = models(source)
    if source.rankings is None or not ranked or ranked[0][0] != "PyTorch":
        return None
    asked = source.rankings.queries
    expected = ranked[0][1].top
    chosen = _one_of_each_class(asked)
    pairs: list[tuple[str, list[int], list[int], list[int]]] = []
    agreeing = []
    for name, model in ranked[1:]:
        changed = [n for n, (one, other) in enumerate(zip(expected, model.top, strict=True)) if one != other]
        others = [n for n in changed if set(expected[n]) != set(model.top[n])]
        if not changed:
            agreeing.append(name)
            continue
        worst = sorted(changed, key=lambda n: (len(set(expected[n]) & set(model.top[n])), n))[:_DIFFERENT]
        pairs.append((name, changed, others, worst))
    tops = {name: model.top for name, model in ranked}
    used = {image for n in chosen for image in expected[n]}
    used |= {image for name, _, _, worst in pairs for n in worst for image in (*expected[n], *tops[name][n])}
    images = _Images(source, used)
    return Examples(
        tuple(images.query(asked[n], [("PyTorch", expected[n])]) for n in chosen),
        tuple(
            Difference(
                name,
                len(others),
                len(changed) - len(others),
                len(asked),
                tuple(images.query(asked[n], [("PyTorch", expected[n]), (name, tops[name][n])]) for n in worst),
            )
            for name, changed, others, worst in pairs
        ),
        tuple(agreeing),
        len(asked),
    )


def _one_of_each_class(asked: Sequence[RankedQuery]) -> list[int]:
    first: dict[int, int] = {}
    for number, query in enumerate(asked):
        first.setdefault(query.label, number)
    numbers = list(first.values())
    step = max(1.0, len(numbers) / _ROWS)
    return [numbers[int(place * step)] for place in range(min(_ROWS, len(numbers)))]


class _Images:
    """The pictures that the page shows, read once."""

    def __init__(self, source: Source, ids: set[int]) -> None:
        self._classes = source.rankings.classes if source.rankings is not None else ()
        self._rows = source.thumbnails(ids)
        self._pictures = {number: picture(row[3]) for number, row in self._rows.items()}

    def query(self, asked: RankedQuery, tops: Sequence[tuple[str, Sequence[int]]]) -> Query:
        rankings = tuple(
            Ranking(model, tuple(self._found(rank, image, asked) for rank, image in enumerate(top, start=1)))
            for model, top in tops
        )
        try:
            shown = picture(base64.b64decode(asked.picture))
        except (binascii.Error, ValueError):
            shown = None
        return Query(asked.name, self._classes[asked.label], shown, rankings)

    def _found(self, rank: int, image: int, asked: RankedQuery) -> Found:
        if image not in self._rows:
            return Found(rank, f"image {image}", "missing in the gallery", False, None)
        name, label, number, _ = self._rows[image]
        right = number == asked.label if asked.relevant is None else image in asked.relevant
        return Found(rank, name, label, right, self._pictures[image])
