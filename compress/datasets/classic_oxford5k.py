"""Oxford5k: 55 queries in 5,062 photographs; good, ok and junk.

J. Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compress.datasets._classic import Classic


@dataclass(frozen=True, kw_only=True)
class ClassicOxford5k(Classic):
    """Photographs and ``all_souls_1_query.txt`` and the like, at or below ``root``/classic_oxford5k or ``root``."""

    pattern: ClassVar[str] = r"(.+)_\d+"
    prefix: ClassVar[str] = "oxc1_"
    remedy: ClassVar[str] = (
        "unpack oxbuild_images.tgz and gt_files_170407.tgz there, from "
        "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/"
    )
