"""Decide which pictures are accepted as queries, and explain why others are refused."""

from __future__ import annotations

from typing import BinaryIO

# What phones and browsers make; Pillow's other readers are not given untrusted files.
FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 40_000_000

_HEIC = (
    "HEIC pictures are not read here: save it as JPEG "
    "(an iPhone takes JPEG with Settings, Camera, Formats, Most Compatible)"
)
_NAMES = {
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/gif": "GIF",
    "image/heic": "HEIC",
    "image/heif": "HEIC",
    "image/tiff": "TIFF",
}
_STARTS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


def wrong_type(kind: str) -> str:
    """Why a picture of this Content-Type is refused."""
    if kind in _NAMES:
        return _other_format(_NAMES[kind])
    return f"Content-Type '{kind[:80]}': send image/jpeg, image/png or image/webp"


def unreadable(picture: BinaryIO, reason: str) -> str:
    """Why ``picture``, which Pillow did not read for this reason, is refused."""
    picture.seek(0)
    name = _format(picture.read(32))
    return f"this is no JPEG, PNG or WebP image that can be read ({reason})" if name is None else _other_format(name)


def _other_format(name: str) -> str:
    return _HEIC if name == "HEIC" else f"{name} pictures are not read here: save it as JPEG, PNG or WebP"


def _format(start: bytes) -> str | None:
    """The format of a file by its first bytes, where it is a common one that is not read."""
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        return "AVIF" if brand.startswith(b"avi") else "HEIC" if brand[:2] in (b"he", b"mi", b"ms") else None
    return next((name for magic, name in _STARTS.items() if start.startswith(magic)), None)
