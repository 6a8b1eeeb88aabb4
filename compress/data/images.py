"""One photograph file -> the uint8 RGB image an artifact takes. Needs NumPy and Pillow only."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from compress.contracts import ArchivedImage, Preprocess, PublishedImage
from compress.data.formats import formats_of, instead, reason

MAX_SIDE = 65_535
"""The longest that JPEG has. Resizing first makes an image of the longer side and the target's width."""
_STRIP_PIXELS = 2**20

Resize = Callable[[tuple[int, int], tuple[float, float, float, float]], Image.Image]


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
    return _resized(upright_rgb(image), preprocess)


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image before it is resized: EXIF orientation applied, in RGB. Raises as ``preprocess_image``."""
    return _to_rgb(_upright(image))


def _resized(rgb: Image.Image, preprocess: Preprocess) -> np.ndarray:
    return fitted(rgb, preprocess, lambda size, box: rgb.resize(size, Image.Resampling.BILINEAR, box=box))


def fitted(rgb: Image.Image, preprocess: Preprocess, resize: Resize) -> np.ndarray:
    """Bring an upright image to the size of an artifact's input, as ``preprocess.crop`` says: uint8 [H, W, 3].

    Args:
        resize: resizes a part of ``rgb``, (left, top, right, bottom), to a size (W, H).
    """
    H, W = preprocess.size
    if preprocess.crop == "pad":
        return np.asarray(_padded(rgb, (W, H), preprocess.mean, resize))
    return np.asarray(resize((W, H), source_box(rgb.size, (W, H), preprocess.crop)))


def _padded(rgb: Image.Image, target: tuple[int, int], mean: tuple[float, float, float], resize: Resize) -> Image.Image:
    """Resize the whole image to fit into the target (W, H), centred on the mean colour, which is 0 once normalised."""
    (w, h), (W, H) = rgb.size, target
    scale = min(W / w, H / h)
    fitting = min(W, max(1, round(w * scale))), min(H, max(1, round(h * scale)))
    canvas = Image.new("RGB", target, tuple(round(255 * value) for value in mean))
    canvas.paste(resize(fitting, (0, 0, w, h)), ((W - fitting[0]) // 2, (H - fitting[1]) // 2))
    return canvas


def read_image(
    file: Path | BinaryIO,
    preprocess: Preprocess,
    *,
    formats: tuple[str, ...] | None = None,
    max_pixels: int | None = None,
) -> np.ndarray:
    """Decode one file: uint8 [H, W, 3].

    Args:
        formats: of Pillow's formats only these; by default those of ``formats_of``.
        max_pixels: refuse larger images before they are decoded, besides Pillow's own limit.

    Raises:
        TooManyPixelsError: larger than ``max_pixels``, or a side longer than ``MAX_SIDE``.
        UndecodableImageError: not an image, truncated, or larger than Pillow's limit against decompression bombs.
    """
    with _opened(file, formats or formats_of(file)) as image:
        if max_pixels is not None and image.width * image.height > max_pixels:
            raise TooManyPixelsError(f"{image.width} x {image.height} pixels; at most {max_pixels:,} are taken")
        return preprocess_image(image, preprocess)


def read_published(source: PublishedImage, preprocess: Preprocess) -> np.ndarray:
    """Decode a file as the code of Revisited Oxford and Paris does (cirtorch, ``pil_loader``): uint8 [H, W, 3].

    Raises:
        UndecodableImageError: not an image, or the box lies outside it.
    """
    with _truncated_taken(), _opened(source.path, formats_of(source.path)) as image:
        return _resized(_to_rgb(image if source.box is None else _part(image, source.box)), preprocess)


def read_archived(source: ArchivedImage, preprocess: Preprocess) -> np.ndarray:
    """Decode a file inside an archive: uint8 [H, W, 3].

    Raises:
        UndecodableImageError: not an image, or the archive is not there any more.
    """
    return read_image(archived_file(source), preprocess)


def archived_file(source: ArchivedImage) -> io.BytesIO:
    """The file, read from its archive. Raises UndecodableImageError if the archive is not there any more."""
    try:
        with source.path.open("rb") as archive:
            archive.seek(source.offset)
            return io.BytesIO(archive.read(source.size))
    except OSError as error:
        raise UndecodableImageError(reason(error)) from error


@contextmanager
def _opened(file: Path | BinaryIO, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """An image file while it is used. Whatever goes wrong with it meanwhile is an ``UndecodableImageError``."""
    try:
        if isinstance(file, Path) and file.exists() and not file.is_file():
            raise UndecodableImageError("not a regular file")  # opening a pipe would wait for ever
        with Image.open(file, formats=formats) as image:
            if max(image.size) > MAX_SIDE:
                raise TooManyPixelsError(
                    f"{image.width} x {image.height} pixels; at most {MAX_SIDE:,} a side are taken"
                )
            yield image
    except UnidentifiedImageError as error:
        raise UndecodableImageError(instead(file)) from error
    except (UndecodableImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers leak errors of every kind from damaged files
        raise UndecodableImageError(reason(error)) from error


class _Truncated:
    """How many threads decode truncated files now: Pillow's switch is one for the whole process."""

    lock = threading.Lock()
    readers = 0


@contextmanager
def _truncated_taken() -> Iterator[None]:
    with _Truncated.lock:
        _Truncated.readers += 1
        ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        with _Truncated.lock:
            _Truncated.readers -= 1
            ImageFile.LOAD_TRUNCATED_IMAGES = _Truncated.readers > 0


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


def source_box(size: tuple[int, int], target: tuple[int, int], crop: str) -> tuple[float, float, float, float]:
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
