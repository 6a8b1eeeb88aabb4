"""Golden photographs: files as cameras and apps write them, with the exact pixels that an artifact must get of each.

``golden/photos/NAME.jpg`` and ``.png`` are golden images enlarged to a camera's size: one upright, one for each turn
that EXIF knows, and one each in CMYK, in grey and with transparency. ``golden/photos.u8`` holds the pixels after
``preprocess``, uint8 NHWC, in the order in which ``golden.json`` lists the files under ``photos``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw

from compress.contracts import BadInput, Preprocess
from compress.data.images import UndecodableImageError, read_image
from compress.system.bounded_reading import read_bytes
from compress.system.files import remove
from compress.system.path_containment import file_inside

LEVELS = 2
"""Largest difference between two decoders of the same file that is accepted, of 255 levels, after the resize."""

_FOLDER, _TENSOR = "photos", "photos.u8"
_TURNED_SHARE = 4
"""Only the upright photograph has a camera's full size; the others are this much smaller, to save bytes."""
_QUALITY = 50
_MOST, _MOST_BYTES = 1000, 1 << 28
_FORMATS, _MOST_PIXELS = ("JPEG", "PNG"), 8192**2
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how a camera's sensor saw the upright picture."""


@dataclass(frozen=True)
class GoldenPhotos:
    """The golden photographs of a bundle.

    Attributes:
        files: M paths relative to the golden pack's folder.
        what: what is special about each.
        pixels: uint8 [M, H, W, 3], what an artifact must get of each.
    """

    files: tuple[str, ...]
    what: tuple[str, ...]
    pixels: np.ndarray


def write_golden_photos(folder: Path, images: np.ndarray, preprocess: Preprocess, longest: int) -> GoldenPhotos:
    """Write the photographs into the golden pack's ``folder`` and read each as an app must.

    Args:
        images: the golden images, uint8 [P, H, W, 3]; as many as are needed are enlarged, in turn.
        longest: longer side of the upright photograph in pixels.
    """
    remove_golden_photos(folder)
    (folder / _FOLDER).mkdir(parents=True)
    small = max(8, longest // _TURNED_SHARE)
    numbers = iter(range(_MOST))

    def enlarged(side: int, kernel: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
        chosen = Image.fromarray(images[next(numbers) % len(images)])
        return chosen.resize((side, max(1, side * 3 // 4)), kernel)

    files: dict[str, str] = {}

    def save(image: Image.Image, name: str, what: str, orientation: int = 1) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options: dict[str, Any] = {"quality": _QUALITY, "exif": exif} if name.endswith(".jpg") else {}
        image.save(folder / _FOLDER / name, **options)
        files[f"{_FOLDER}/{name}"] = what

    save(enlarged(longest), "upright.jpg", f"{longest} pixels wide")
    for orientation, undo in _UNDO.items():
        save(
            enlarged(small).transpose(undo), f"turned-{orientation}.jpg", f"EXIF orientation {orientation}", orientation
        )
    save(enlarged(small).convert("CMYK"), "cmyk.jpg", "CMYK")
    save(enlarged(small).convert("L"), "grey.jpg", "grey")
    # Sharp edges: PNG stores them in few bytes.
    save(_transparent(enlarged(small, Image.Resampling.NEAREST)), "alpha.png", "transparent, flattened on white")
    pixels = np.stack([read_image(folder / file, preprocess) for file in files])
    (folder / _TENSOR).write_bytes(pixels.tobytes())
    return GoldenPhotos(tuple(files), tuple(files.values()), pixels)


def remove_golden_photos(folder: Path) -> None:
    """Remove what an earlier run wrote into the golden pack's folder."""
    for path in (folder / _FOLDER, folder / _TENSOR):
        if path.exists():
            remove(path)


def described(photos: GoldenPhotos) -> dict[str, Any]:
    """The value of ``photos`` in golden.json."""
    return {
        "file": _TENSOR,
        "dtype": "uint8",
        "layout": "NHWC",
        "shape": list(photos.pixels.shape),
        "images": [{"file": file, "what": what} for file, what in zip(photos.files, photos.what, strict=True)],
    }


def read_golden_photos(folder: Path, described: Any) -> GoldenPhotos:
    """Read them back; ``described`` is the value of ``photos`` in golden.json.

    Raises:
        BadInput, LookupError, OSError, TypeError, ValueError: they are missing or damaged.
    """
    shape, entries = described["shape"], described["images"]
    if len(shape) != 4 or any(type(side) is not int or side < 1 for side in shape) or math.prod(shape) > _MOST_BYTES:
        raise ValueError(f"{_TENSOR}: shape {shape}")
    content = read_bytes(file_inside(folder, _TENSOR), most=_MOST_BYTES)
    if len(content) != math.prod(shape) or len(entries) != shape[0]:
        raise ValueError(f"{_TENSOR}: {len(content)} bytes and {len(entries)} files do not fit the shape {shape}")
    files = tuple(str(entry["file"]) for entry in entries)
    for file in files:
        file_inside(folder, file)
    pixels = np.frombuffer(content, np.uint8).reshape(shape)
    return GoldenPhotos(files, tuple(str(entry["what"]) for entry in entries), pixels)


def photo_problems(folder: Path, photos: GoldenPhotos, preprocess: Preprocess) -> list[str]:
    """One line per golden photograph that is read here with other pixels than the bundle says."""
    return [
        f"golden/{file}: {problem}"
        for file, expected in zip(photos.files, photos.pixels, strict=True)
        if (problem := _problem(folder / file, expected, preprocess)) is not None
    ]


def _problem(file: Path, expected: np.ndarray, preprocess: Preprocess) -> str | None:
    if expected.shape != (*preprocess.size, 3):
        return f"its pixels have shape {list(expected.shape)}, an artifact takes {[*preprocess.size, 3]}"
    try:
        found = read_image(file, preprocess, formats=_FORMATS, max_pixels=_MOST_PIXELS)
    except (UndecodableImageError, BadInput) as error:
        return f"cannot be read: {error}"
    apart = np.abs(found.astype(np.int16) - expected)
    if apart.max() <= LEVELS:
        return None
    return f"is read here with pixels up to {apart.max()} levels away from golden/{_TENSOR}; compare how it is prepared"


def _transparent(rgb: Image.Image) -> Image.Image:
    mask = Image.new("L", rgb.size, 0)
    width, height = rgb.size
    ImageDraw.Draw(mask).rectangle((width // 8, height // 8, width - width // 8, height - height // 8), fill=255)
    ImageDraw.Draw(mask).rectangle((width // 3, height // 3, width // 2, height // 2), fill=128)
    rgb.putalpha(mask)
    return rgb
