"""The recipe's section ``validate.photos``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from compress.contracts.components import Component

Kernel = Literal["nearest", "bilinear", "area", "bicubic"]
Decoder = Literal["scaled", "replicated"]


@dataclass(frozen=True, kw_only=True)
class PhotoOptions(Component):
    """The recipe's section ``validate.photos``: whether an app's way from photograph to pixels may differ.

    Attributes:
        longest: longer side in pixels of the golden photographs.
        queries: at most this many held-out photographs, evenly spaced, are prepared in other ways and searched with; 20
            if the distance is local.
        kernels: resize kernels of apps: ``nearest``; ``bilinear`` without antialias; ``area``, the mean of the source
            pixels; ``bicubic`` with antialias.
        decoders: ``scaled`` lets the JPEG decoder halve the image as often as it can, as Android's ``inSampleSize``
            does; ``replicated`` repeats the colour of each four pixels, where libjpeg smooths it.
        qualities: JPEG qualities at which the photographs are compressed once more.
    """

    longest: Annotated[int, Ge(64), Le(8192)] = 4032
    queries: Annotated[int, Ge(2)] = 200
    kernels: tuple[Kernel, ...] = ("nearest", "bilinear", "area", "bicubic")
    decoders: tuple[Decoder, ...] = ("scaled", "replicated")
    qualities: tuple[Annotated[int, Ge(1), Le(100)], ...] = (30, 50, 75, 85, 95)
