"""``compress upgrade``: must galleries be rebuilt for a new model, and what does each part of the work give?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.bundle.manifest import Manifest, failed_line, read_manifest
from validators.results import Upgrade


@dataclass(frozen=True)
class Plan:
    """What an app team has to do with the galleries of the old bundle.

    Attributes:
        names, folders: of the old and the new bundle.
        rebuild: whether galleries must be rebuilt before the new artifacts search them.
        reason: why, or why not, in one line.
        upgrade: what the new bundle measured of the old model's galleries; None if it measured nothing.
        warnings: what else changes for an app; one line each.
        problems: gates that failed.
    """

    names: tuple[str, str]
    folders: tuple[str, str]
    rebuild: bool
    reason: str
    upgrade: Upgrade | None
    warnings: tuple[str, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "names": self.names,
            "folders": self.folders,
            "rebuild": self.rebuild,
            "reason": self.reason,
            "upgrade": None if self.upgrade is None else self.upgrade.to_json(),
            "warnings": self.warnings,
        }


def plan(old: Path, new: Path) -> Plan:
    """Compare two bundles by what they measured when they were made; nothing is executed.

    Raises:
        BadInput: one of the folders is not a bundle, or its manifest is damaged.
    """
    one, other = read_manifest(old), read_manifest(new)
    measured = other.upgrade if other.upgrade and other.upgrade.space_id == one.embedding.space_id else None
    problems: tuple[str, ...] = ()
    if one.embedding.space_id == other.embedding.space_id:
        rebuild, reason = False, "both models have one embedding space"
        measured = None
    elif measured is None:
        rebuild, reason = True, f"{other.name} was not trained with train.compatible_with: {old}"
    elif measured.passed:
        rebuild, reason = False, f"{other.name} was trained to search them; each new embedding improves them further"
    else:
        rebuild, reason = True, f"queries of {measured.lowest} find less in them than the old model's did"
        problems = tuple(failed_line("the old gallery", gate) for gate in measured.gates if not gate.passed)
    return Plan(
        (one.name, other.name),
        (str(old), str(new)),
        rebuild,
        reason,
        measured,
        tuple(_warnings(one, other, rebuild=rebuild)),
        problems,
    )


def _warnings(one: Manifest, other: Manifest, *, rebuild: bool) -> Iterator[str]:
    if one.preprocess != other.preprocess:
        yield "preprocessing differs: an app must change how it resizes with the artifact"
    if not rebuild and other.embedding.dim > one.embedding.dim:
        first = f"the first {one.embedding.dim} of {other.embedding.dim} values of an embedding"
        yield f"old galleries are searched with {first}; 'compress search' and 'demo' take them"
    if not rebuild and one.embedding.space_id != other.embedding.space_id:
        yield "thresholds for 'match' hold in rebuilt galleries only"
