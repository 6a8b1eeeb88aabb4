"""One photograph file -> the uint8 RGB image an artifact takes. Needs NumPy and Pillow only."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from compress.contracts import Preprocess

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "DIB", "TIFF", "PPM", "PSD", "QOI", "SGI")
"""Pillow's names of the formats that are taken; JPEG includes MPO.

All have a signature, and no reader of theirs runs another program.
"""

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILM", b"FOVb")
_DNG_VERSION, _SUBFILE_TYPE = 50706, 254
_REDUCED = 1
_RAW_REASON = "a RAW photograph, which Pillow does not develop; export it as JPEG"

MAX_SIDE = 65_535
"""The longest that JPEG has. Resizing first makes an image of the longer side and the target's width."""
_STRIP_PIXELS = 2**20


class UndecodableImageError(Exception):
    """The file holds no image that can be shown; the message is the reason, without the file's name."""


class TooManyPixelsError(UndecodableImageError):
    """The image is larger than asked for."""


def preprocess_image(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Orient, convert, resize and crop one image.

    EXIF orientation is applied, transparency is flattened on white, grey is repeated to three channels and 16-bit
    grey is scaled to 8 bits. The resize is bilinear with antialiasing (the filter widens with the scale), as
    Pillow and torchvision's ``antialias=True`` do it.

    Args:
        image: of any mode with a defined range; 32-bit float has none.
        preprocess: its ``mean`` and ``std`` are not applied here, the artifact holds them.

    Returns:
        uint8 [H, W, 3], values 0-255.

    Raises:
        UndecodableImageError: the pixels are 32-bit floats.
    """
    rgb = _to_rgb(_upright(image))
    H, W = preprocess.size
    return np.asarray(rgb.resize((W, H), Image.Resampling.BILINEAR, box=_source_box(rgb.size, (W, H), preprocess.crop)))


def read_image(
    file: Path | BinaryIO,
    preprocess: Preprocess,
    *,
    formats: tuple[str, ...] | None = None,
    max_pixels: int | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Decode one file: uint8 [H, W, 3].

    Args:
        formats: of Pillow's formats only these; by default ``FORMATS``, and TGA by its suffix.
        max_pixels: refuse larger images before they are decoded, besides Pillow's own limit.
        box: take this part alone, (left, top, right, bottom) in pixels of the file, rounded; before EXIF turns it.

    Raises:
        TooManyPixelsError: larger than ``max_pixels``, or a side longer than ``MAX_SIDE``.
        UndecodableImageError: not an image, truncated, or larger than Pillow's limit against decompression bombs.
    """
    try:
        if isinstance(file, Path) and file.exists() and not file.is_file():
            raise UndecodableImageError("not a regular file")  # opening a pipe would wait for ever
        with Image.open(file, formats=formats or _formats(file)) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise TooManyPixelsError(f"{image.width} x {image.height} pixels; at most {max_pixels:,} are taken")
            if max(image.size) > MAX_SIDE:
                raise TooManyPixelsError(
                    f"{image.width} x {image.height} pixels; at most {MAX_SIDE:,} a side are taken"
                )
            return preprocess_image(image if box is None else _part(image, box), preprocess)
    except UnidentifiedImageError as error:
        raise UndecodableImageError(_instead(file)) from error
    except (UndecodableImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers leak errors of every kind from damaged files
        raise UndecodableImageError(_reason(error)) from error


def not_a_photograph(path: Path) -> str | None:
    """Why a file is none, by its content; None where it is one. Reads the header only."""
    try:
        with Image.open(path, formats=_formats(path)) as image:
            return _RAW_REASON if _is_preview(image, path) else None
    except UnidentifiedImageError:
        return _instead(path)
    except Exception as error:  # as above
        return _reason(error)


def _formats(file: Path | BinaryIO) -> tuple[str, ...]:
    """TGA has no signature, so that its suffix must say it."""
    return ("TGA",) if isinstance(file, Path) and file.suffix.lower() == ".tga" else FORMATS


def _is_preview(image: Image.Image, path: Path) -> bool:
    """Cameras write RAW photographs as TIFF, with a small preview where TIFF has its image."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    reduced = image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED
    return bool(reduced) or _DNG_VERSION in image.tag_v2 or _header(path)[8:10] == b"CR"


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def _instead(file: Path | BinaryIO) -> str:
    """What a file is that is no image to Pillow."""
    if not isinstance(file, Path):
        return "not an image"
    header = _header(file)
    if header[4:8] == b"ftyp":
        if header[8:] in _HEIC:
            return "HEIC, which Pillow does not decode; convert it to JPEG"
        return _RAW_REASON if header[8:] == b"crx " else "a video"
    return _RAW_REASON if header.startswith(_RAW) else "not an image"


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.split())


def _part(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    left, top, right, bottom = (round(edge) for edge in box)
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise UndecodableImageError(f"its box {list(box)} lies outside its {image.width} x {image.height} pixels")
    return image.crop((left, top, right, bottom))


def _upright(image: Image.Image) -> Image.Image:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image  # which would copy it


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UndecodableImageError("32-bit float pixels have no defined range")
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    # In strips: the steps between would take five times the memory of the image.
    found = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        found.paste(_strip_to_rgb(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return found


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow gives 16-bit PNG as 32-bit integers before version 11
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _source_box(size: tuple[int, int], target: tuple[int, int], crop: str) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom) of the source that lands in the target; sizes are (W, H).

    For ``center`` this gives the pixels of resizing the shorter side and cutting the centre, without making the
    whole resized image, which a long and thin source would blow up to gigabytes.
    """
    w, h = size
    if crop == "none":
        return (0, 0, w, h)
    W, H = target
    scale = max(W / w, H / h)
    resized_w, resized_h = max(W, round(w * scale)), max(H, round(h * scale))
    left, top = (resized_w - W) // 2, (resized_h - H) // 2
    fx, fy = w / resized_w, h / resized_h
    return (left * fx, top * fy, min(w, (left + W) * fx), min(h, (top + H) * fy))
