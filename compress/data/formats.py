"""Which files are photographs that can be decoded, by their content. Needs Pillow only."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "DIB", "TIFF", "PPM", "PSD", "QOI", "SGI")
"""Pillow's names of the formats that are taken; JPEG includes MPO.

All have a signature, and no reader of theirs runs another program.
"""

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILM", b"FOVb")
_DNG_VERSION, _SUBFILE_TYPE = 50706, 254
_REDUCED = 1
_RAW_REASON = "a RAW photograph, which Pillow does not develop; export it as JPEG"


def not_a_photograph(path: Path) -> str | None:
    """Why a file is not a photograph, by its content; None if it is one. Reads the header only."""
    try:
        with Image.open(path, formats=formats_of(path)) as image:
            return _RAW_REASON if _is_preview(image, path) else None
    except UnidentifiedImageError:
        return instead(path)
    except Exception as error:  # Pillow's readers leak errors of every kind from damaged files
        return reason(error)


def formats_of(file: Path | BinaryIO) -> tuple[str, ...]:
    """The formats to try; TGA only for the suffix .tga, because it has no signature."""
    return ("TGA",) if isinstance(file, Path) and file.suffix.lower() == ".tga" else _formats()


def heif_version() -> str | None:
    """The version of pillow-heif, which decodes HEIC; None if it is not installed."""
    try:
        return version("pillow-heif")
    except PackageNotFoundError:
        return None


@functools.cache
def _formats() -> tuple[str, ...]:
    """``FORMATS``, and HEIF if its reader is installed."""
    if heif_version() is None:
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def _is_preview(image: Image.Image, path: Path) -> bool:
    """Whether the image is the small preview of a RAW photograph, which cameras store as a TIFF file."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    reduced = image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED
    return bool(reduced) or _DNG_VERSION in image.tag_v2 or _header(path)[8:10] == b"CR"


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def instead(file: Path | BinaryIO) -> str:
    """Say what kind of file it is, if Pillow cannot open it as an image."""
    if not isinstance(file, Path):
        return "not an image"
    header = _header(file)
    if header[4:8] == b"ftyp":
        if header[8:] in _HEIC:
            remedy = "" if heif_version() else 'install "compress-retrieval[heif]", or '
            return f"HEIC, which Pillow does not decode; {remedy}convert it to JPEG"
        return _RAW_REASON if header[8:] == b"crx " else "a video"
    return _RAW_REASON if header.startswith(_RAW) else "not an image"


def reason(error: Exception) -> str:
    """The error's message on one line."""
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
