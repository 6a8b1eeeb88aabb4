"""Read batches ahead of their use, so that a slow source of images never starves training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from compress.contracts import ImageSet


def batches(
    images: ImageSet, batch_size: int, order: np.ndarray, prefetch: int = 2
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the images in ``order``, the last batch being what is left.

    Args:
        order: int64 indices into ``images``; each is read once per occurrence.
        prefetch: batches read in a background thread while one is in use. The thread ends with the iteration,
            also when the consumer stops early or raises.

    Yields:
        images uint8 [n, H, W, 3] and labels int64 [n].
    """

    def read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(images.images[rows]), images.labels[rows]

    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    ahead: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
    try:
        for start in range(0, len(order), batch_size):
            ahead.append(reader.submit(read, order[start : start + batch_size]))
            if len(ahead) > prefetch:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
