"""Prepare photographs as apps do that do not follow ``preprocess``: other decoders, other resize kernels."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from compress.contracts import ArchivedImage, PhotoOptions, Preprocess, PublishedImage
from compress.data.formats import formats_of
from compress.data.images import archived_file, fitted, preprocess_image, source_box, upright_rgb

Source = Path | PublishedImage | ArchivedImage | np.ndarray
"""A photograph's file, also in an archive, or uint8 [h, w] or [h, w, 3]."""
Way = Callable[[Source, Preprocess], np.ndarray]

_HALF_BOTH_WAYS = 2
"""Pillow's number for 4:2:0, one colour for each four pixels, as nearly every camera writes it."""
_FILTERS = {"area": Image.Resampling.BOX, "bicubic": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST}


def ways(options: PhotoOptions, sources: Sequence[Source]) -> Mapping[str, Way]:
    """The ways of the recipe by name; those of decoders only if the photographs are files."""
    found: dict[str, Way] = {f"resize {kernel}": _resizing(kernel) for kernel in options.kernels}
    if all(isinstance(source, Path) for source in sources):
        known: dict[str, Way] = {"scaled": _scaled, "replicated": _replicated}
        found |= {f"decoder {name}": known[name] for name in options.decoders}
    return found | {f"JPEG {quality}": _compressing(quality) for quality in options.qualities}


def _resizing(kernel: str) -> Way:
    def way(source: Source, preprocess: Preprocess) -> np.ndarray:
        return resized(_rgb(source), preprocess, kernel)

    return way


def _compressing(quality: int) -> Way:
    def way(source: Source, preprocess: Preprocess) -> np.ndarray:
        file = io.BytesIO()
        _rgb(source).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            return preprocess_image(image, preprocess)

    return way


def resized(rgb: Image.Image, preprocess: Preprocess, kernel: str) -> np.ndarray:
    """Resize with another kernel, the part that ``preprocess`` takes: uint8 [H, W, 3].

    Args:
        kernel: ``nearest``, ``bilinear`` without antialias, ``area`` or ``bicubic`` (with antialias).
    """

    def resize(size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
        if kernel == "bilinear":  # Pillow's resize widens the kernel, its transform does not
            return rgb.transform(size, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
        return rgb.resize(size, _FILTERS[kernel], box=box)

    return fitted(rgb, preprocess, resize)


def _scaled(source: Source, preprocess: Preprocess) -> np.ndarray:
    assert isinstance(source, Path)
    H, W = preprocess.size
    with Image.open(source, formats=formats_of(source)) as image:
        left, top, right, bottom = source_box(image.size, (W, H), preprocess.crop)
        sides = (right - left) / W, (bottom - top) / H
        shrink = max(image.width / W, image.height / H) if preprocess.crop == "pad" else min(sides)
        wanted = (int(image.width / max(1, shrink)), int(image.height / max(1, shrink)))
        image.draft("RGB", wanted)  # the decoder takes the next larger eighth; files of other formats stay whole
        return preprocess_image(image, preprocess)


def _replicated(source: Source, preprocess: Preprocess) -> np.ndarray:
    assert isinstance(source, Path)
    with Image.open(source, formats=formats_of(source)) as image:
        if image.format != "JPEG" or image.mode != "RGB" or get_sampling(image) != _HALF_BOTH_WAYS:
            return preprocess_image(image, preprocess)
        size, exif = image.size, image.info.get("exif")
        image.draft("YCbCr", size)
        light = image.getchannel(0)
    with Image.open(source, formats=formats_of(source)) as image:
        # At half the size the decoder gives colour as the file stores it.
        image.draft("YCbCr", (max(1, size[0] // 2), max(1, size[1] // 2)))
        doubled = (image.width * 2, image.height * 2)
        colour = [
            image.getchannel(each).resize(doubled, Image.Resampling.NEAREST).crop((0, 0, *size)) for each in (1, 2)
        ]
    joined = Image.merge("YCbCr", (light, *colour)).convert("RGB")
    if exif is not None:
        joined.info["exif"] = exif
    return preprocess_image(joined, preprocess)


def _rgb(source: Source) -> Image.Image:
    if isinstance(source, np.ndarray):
        return upright_rgb(Image.fromarray(source))
    if isinstance(source, PublishedImage):
        with Image.open(source.path, formats=formats_of(source.path)) as image:
            image.load()
            left, top, right, bottom = source.box or (0, 0, *image.size)
            return upright_rgb(image.crop((round(left), round(top), round(right), round(bottom))).convert("RGB"))
    file = archived_file(source) if isinstance(source, ArchivedImage) else source
    with Image.open(file, formats=formats_of(file)) as image:
        image.load()  # an image that needs no change would be read after its file is closed
        return upright_rgb(image)
