from __future__ import annotations

import numpy as np

from compress.contracts import ImageSet
from compress.data.calibration import calibration_images
from exporters.onnx import Onnx
from exporters.tflite import TFLite

LABELS = np.repeat([0, 1, 2], [50, 5, 45])
"""One rare class. Each image holds its own number, so that the chosen ones can be told."""

TRAIN = ImageSet(
    np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3), LABELS, tuple(map(str, range(100)))
)


def chosen(count: int | None, seed: int = 0) -> list[int]:
    images = calibration_images(TFLite(precision="w8a8", calibration_images=count), TRAIN, seed)
    assert images is not None
    assert (images.dtype, images.shape[1:], images.flags.c_contiguous) == (np.uint8, (1, 1, 3), True)
    return [int(image[0, 0, 0]) for image in images]


def test_every_class_gives_as_many_as_it_has() -> None:
    assert np.bincount(LABELS[chosen(9)]).tolist() == [3, 3, 3]
    assert np.bincount(LABELS[chosen(25)]).tolist() == [10, 5, 10]


def test_the_seed_decides() -> None:
    assert chosen(9, seed=1) == chosen(9, seed=1) != chosen(9, seed=2)


def test_256_or_all_there_are() -> None:
    assert chosen(None) == chosen(1000) == list(range(100))


def test_no_images_where_none_are_used() -> None:
    assert calibration_images(TFLite(precision="w8"), TRAIN, 0) is None
    assert calibration_images(Onnx(), TRAIN, 0) is None
