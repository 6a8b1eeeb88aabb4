"""Measure how many photographs a second a network takes on this machine."""

from __future__ import annotations

import time

from compress.contracts import Architecture

_BATCH = 8
_SECONDS = 1.0


def photographs_per_second(architecture: Architecture, image_size: int) -> float:
    """Images of ``image_size`` pixels per second through the network on the processor, forwards only.

    The fastest of some batches counts, because other programs may run at the same time.
    """
    import torch

    network = architecture.build().eval()
    images = torch.zeros(_BATCH, 3, image_size, image_size)
    with torch.inference_mode():
        network(images)  # the first call prepares
        fastest, started = float("inf"), time.perf_counter()
        while (begun := time.perf_counter()) - started < _SECONDS or fastest == float("inf"):
            network(images)
            fastest = min(fastest, time.perf_counter() - begun)
    return _BATCH / fastest
