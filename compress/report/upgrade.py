"""The galleries of an older model: what new queries find in them, and what embedding them again adds."""

from __future__ import annotations

from dataclasses import dataclass

from compress.report.numbers import change, score
from compress.report.source import Source


@dataclass(frozen=True)
class OldGalleries:
    """What the section shows.

    Attributes:
        old: mAP of the old model in its own gallery.
        gain: of the file whose queries find least there.
        lowest: that file.
        passed: whether the gate passed.
        queries: number of queries.
        rows: share embedded again, mAP, queries lost, queries gained.
    """

    old: str
    gain: str
    interval: tuple[str, str]
    lowest: str
    passed: bool
    queries: int
    rows: tuple[tuple[str, str, str, str], ...]


def old_galleries(source: Source) -> OldGalleries | None:
    """Make the section; None if the recipe names no older model."""
    upgrade = source.manifest.upgrade
    if upgrade is None:
        return None
    return OldGalleries(
        score(upgrade.old_mAP),
        change(upgrade.gain),
        (change(upgrade.gain_low), change(upgrade.gain_high)),
        "PyTorch" if upgrade.lowest == "pytorch" else upgrade.lowest,
        upgrade.passed,
        upgrade.queries,
        tuple(
            (f"{each.share:.0%}", score(each.mAP), f"{each.flips.lost:,}", f"{each.flips.gained:,}")
            for each in upgrade.partly
        ),
    )
