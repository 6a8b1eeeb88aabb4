"""Pictures as data URIs, so that the page is self-contained."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

_LARGEST = 112
"""Longer side in pixels; larger pictures are scaled down to it."""


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        uri: ``data:image/…``.
        pixelated: whether it is so small that it must be enlarged without smoothing.
    """

    uri: str
    pixelated: bool


def picture(content: bytes) -> Picture | None:
    """Prepare a PNG or JPEG for the page; None if it is neither."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            kind, size = image.format, max(image.size)
            if size > _LARGEST:
                scaled = image.convert("RGB")
                scaled.thumbnail((_LARGEST, _LARGEST))
                file = io.BytesIO()
                scaled.save(file, "JPEG", quality=85)
                kind, content = "JPEG", file.getvalue()
            else:
                image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return Picture(f"data:image/{str(kind).lower()};base64,{base64.b64encode(content).decode()}", size <= 48)
