"""Paris6k: 55 queries in 6,392 readable photographs; good, ok and junk.

J. Philbin et al., "Lost in quantization", CVPR 2008. Twenty of its 6,412 files are damaged and are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compress.datasets._classic import Classic


@dataclass(frozen=True, kw_only=True)
class ClassicParis6k(Classic):
    """Photographs and ``defense_1_query.txt`` and the like, at or below ``root``/classic_paris6k or ``root``."""

    pattern: ClassVar[str] = r"paris_(.+)_\d+"
    remedy: ClassVar[str] = (
        "unpack paris_1.tgz, paris_2.tgz and paris_120310.tgz there, from "
        "https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/"
    )
