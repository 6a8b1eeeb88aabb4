"""The training images that measure activation ranges and the errors of rounding."""

from __future__ import annotations

import numpy as np

from compress.contracts import Exporter, ImageSet
from compress.data.splits import even_choice

DEFAULT = 256


def calibration_images(
    exporter: Exporter, train: ImageSet, seed: int, unlabelled: ImageSet | None = None
) -> np.ndarray | None:
    """Draw calibration images by ``seed``, the same number from each class: uint8 [N, H, W, 3].

    N is ``exporter.calibration_images`` or 256, or the number of images if that is smaller. Half of the images are
    ``unlabelled`` ones if there are any. Returns None if the export needs no calibration.
    """
    if not exporter.needs_calibration:
        return None
    count, further = exporter.calibration_images or DEFAULT, 0 if unlabelled is None else len(unlabelled)
    own = min(max(count - further, -(-count // 2)), len(train)) if further else min(count, len(train))
    drawn = [train.images[even_choice(train.labels, own, seed)]]
    if unlabelled is not None:
        drawn.append(unlabelled.images[even_choice(unlabelled.labels, min(count - own, further), seed)])
    return np.ascontiguousarray(np.concatenate(drawn))
