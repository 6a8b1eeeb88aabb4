"""Find the distance up to which a search result is a match, as the bundle or the user says."""

from __future__ import annotations

import math

from compress.bundle.manifest import ArtifactEntry
from compress.contracts import BadInput
from validators.results import Threshold


def thresholds_of(entry: ArtifactEntry, runtime: str) -> tuple[Threshold, ...]:
    """What was measured of the artifact on the runtime with this title, or on the first runtime that was measured."""
    found = {row.runtime: row.thresholds.at for row in entry.entries() if row.thresholds is not None}
    return (found.get(runtime) or next((each for each in found.values() if each), None)) or ()


def match_distance(text: str, entry: ArtifactEntry, runtime: str, *, older: bool = False) -> float:
    """The distance that ``text`` means: a number itself, a rate such as ``0.1%`` the bundle's threshold for it.

    Args:
        older: the gallery is an older model's, for which the bundle has no thresholds.

    Raises:
        BadInput: neither, or the bundle has no threshold for this rate.
    """
    known = {each.name: each.distance for each in thresholds_of(entry, runtime)}
    has = ", ".join(name for name, distance in known.items() if distance is not None)
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise BadInput(f"--threshold {text}: give a false-accept rate ({has or '1%'}) or a distance")
    if not text.strip().endswith("%"):
        return number
    if older:
        raise BadInput(
            f"--threshold {text}: an older model made the gallery, in which no threshold was measured; give a distance"
        )
    name = f"{number:g}%"
    if name not in known:
        raise BadInput(
            f"--threshold {text}: {entry.path} has thresholds for {has}; take one of them, or give a distance"
            if known
            else f"--threshold {text}: the bundle has no thresholds, because an older version made it; give a distance"
        )
    distance = known[name]
    if distance is None:
        raise BadInput(
            f"--threshold {text}: too few held-out pairs for this rate; take {has or 'a distance'}, or test with more "
            "images"
        )
    return distance
