"""The training images that measure activation ranges."""

from __future__ import annotations

import numpy as np

from compress.contracts import Exporter, ImageSet
from compress.data.splits import even_choice

DEFAULT = 256


def calibration_images(exporter: Exporter, train: ImageSet, seed: int) -> np.ndarray | None:
    """uint8 [N, H, W, 3], drawn by ``seed``, as many from each class; None where the precision needs none.

    N is ``exporter.calibration_images`` or 256, and all images where there are no more.
    """
    if exporter.precision not in exporter.calibrated:
        return None
    count = min(exporter.calibration_images or DEFAULT, len(train))
    return np.ascontiguousarray(train.images[even_choice(train.labels, count, seed)])
