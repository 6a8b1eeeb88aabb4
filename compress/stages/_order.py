"""In which order an epoch sees the training images."""

from __future__ import annotations

import numpy as np


def epoch_order(labels: np.ndarray, per_class: int | None, random: np.random.Generator) -> np.ndarray:
    """Indices of images, int64; the same ``random`` gives the same ones, and every ``random`` as many.

    Args:
        labels: int64 [N].
        per_class: None gives a permutation of all images. A number cuts the shuffled images of each class into groups
            of so many, the last one filled up from the first, and shuffles the groups: every so many indices have one
            label, and a batch made of a few groups holds as many classes where there are enough.
    """
    if per_class is None:
        return random.permutation(len(labels))
    groups = []
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        groups.append(np.resize(own, (-(-len(own) // per_class), per_class)))  # repeats from the first on
    return random.permutation(np.concatenate(groups)).ravel()
