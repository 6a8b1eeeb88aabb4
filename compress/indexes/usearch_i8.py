"""usearch's graph over features rounded to 8 bits: half the bytes, ranked by the exact features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from compress.contracts import Distance
from compress.indexes.usearch import Usearch


@dataclass(frozen=True, kw_only=True)
class UsearchI8(Usearch):
    """As ``usearch``, with features of length 1 rounded to 8 bits; only for the cosine."""

    distances: ClassVar[tuple[Distance, ...]] = ("cosine",)
    stored: ClassVar[Literal["f16", "i8"]] = "i8"
