"""What it costs an app to prepare photographs in another way than the bundle says."""

from __future__ import annotations

from dataclasses import dataclass

from compress.report.numbers import change, score
from compress.report.source import Source


@dataclass(frozen=True)
class Way:
    """One way from a photograph to pixels.

    Attributes:
        name: as in bundle.json.
        changed: share of the input bytes that differ.
        levels: their mean difference, 0 to 255.
        drops: the mAP drop of each artifact, with whether it is the largest of that artifact.
    """

    name: str
    changed: str
    levels: str
    drops: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class PhotographWays:
    """What the section shows.

    Attributes:
        artifacts: those that were measured.
        scores: the mAP of each, if photographs are prepared as the bundle says.
        queries: number of photographs.
    """

    artifacts: tuple[str, ...]
    scores: tuple[str, ...]
    queries: int
    ways: tuple[Way, ...]


def photograph_ways(source: Source) -> PhotographWays | None:
    """Make the section; None if the recipe did not ask for it, or nothing was fast enough to be measured."""
    measured = [(source.name_of(entry), entry.photos) for entry in source.entries if entry.photos is not None]
    if not measured:
        return None
    found = [photos for _, photos in measured]
    ways = []
    for way in found[0].ways:
        drops = [(photos, next((each for each in photos.ways if each.way == way.way), None)) for photos in found]
        cells = tuple((change(each and each.mAP_drop), photos.worst == way.way) for photos, each in drops)
        ways.append(Way(way.way, f"{way.bytes_changed:.0%}", f"{way.mean_levels:.2f}", cells))
    return PhotographWays(
        tuple(name for name, _ in measured),
        tuple(score(photos.mAP) for photos in found),
        max(photos.queries for photos in found),
        tuple(ways),
    )
