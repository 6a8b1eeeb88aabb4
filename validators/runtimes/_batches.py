"""Feed many images to a runtime without holding all of them, or their activations, in memory."""

from __future__ import annotations

import numpy as np

from compress.contracts import Embedder

WARM_UP = 5
"""Number of runs before a profile, because the first runs choose kernels and allocate memory."""

MAX_IMAGES = 64
MAX_PIXELS = 1 << 22  # 83 images of 224 x 224, 4 of 1024 x 1024


def in_batches(embed: Embedder, max_images: int = MAX_IMAGES) -> Embedder:
    """Call ``embed`` on slices of at most ``max_images`` images and ``MAX_PIXELS`` pixels, and join the results."""

    def embed_all(images: np.ndarray) -> np.ndarray:
        step = max(1, min(max_images, MAX_PIXELS // (images.shape[1] * images.shape[2])))
        return np.concatenate([embed(images[i : i + step]) for i in range(0, len(images), step)])

    return embed_all


def channels_first(images: np.ndarray) -> np.ndarray:
    """Copy uint8 [N, H, W, 3] to a writable C-ordered array [N, 3, H, W]."""
    return np.array(images.transpose(0, 3, 1, 2), order="C")
