"""RParis6k: the 11 landmarks of Paris: 70 queries, 6,322 images.

F. Radenovic et al., "Revisiting Oxford and Paris: large-scale image retrieval benchmarking", CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compress.datasets._revisited import Revisited


@dataclass(frozen=True, kw_only=True)
class Rparis6k(Revisited):
    """``gnd_rparis6k.pkl`` and ``jpg/*.jpg`` in ``root``/rparis6k or in ``root``."""

    pattern: ClassVar[str] = r"paris_(.+)_\d+"
