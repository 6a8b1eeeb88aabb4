"""ROxford5k: the 11 landmarks of Oxford: 70 queries, 4,993 images.

F. Radenovic et al., "Revisiting Oxford and Paris: large-scale image retrieval benchmarking", CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compress.datasets._revisited import Revisited


@dataclass(frozen=True, kw_only=True)
class Roxford5k(Revisited):
    """``gnd_roxford5k.pkl`` and ``jpg/*.jpg`` in ``root``/roxford5k or in ``root``."""

    pattern: ClassVar[str] = r"(.+)_\d+"
