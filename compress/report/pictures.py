"""Pictures as data URIs, so that the page loads nothing."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

_LARGEST = 112
"""Longer side in pixels of what is kept as it is; larger pictures are scaled down to it."""


@dataclass(frozen=True)
class Picture:
    """Attributes: uri: ``data:image/…``; pixelated: so small that smoothing it would show what is not there."""

    uri: str
    pixelated: bool


def picture(content: bytes) -> Picture | None:
    """A PNG or JPEG for the page; None if it is neither."""
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
