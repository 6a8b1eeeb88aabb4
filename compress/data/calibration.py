"""The training images that measure activation ranges."""

from __future__ import annotations

import numpy as np

from compress.contracts import Exporter, ImageSet
from compress.data.splits import even_choice

DEFAULT = 256


def calibration_images(exporter: Exporter, train: ImageSet, seed: int) -> np.ndarray | None:
    """Draw calibration images by ``seed``, the same number from each class: uint8 [N, H, W, 3].

    N is ``exporter.calibration_images`` or 256, or the number of images if that is smaller. Returns None if the
    precision needs no calibration.
    """
    if exporter.precision not in exporter.calibrated:
        return None
    count = min(exporter.calibration_images or DEFAULT, len(train))
    return np.ascontiguousarray(train.images[even_choice(train.labels, count, seed)])
