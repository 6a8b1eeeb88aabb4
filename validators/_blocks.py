"""Compute blocks of a large computation in parallel, with as many threads as its matrix products alone would use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

_MOST_WORKERS = 8
"""Largest number of workers; each holds a block, so more would need more memory and gain little speed."""


@contextmanager
def block_pool() -> Iterator[ThreadPoolExecutor]:
    """Start workers, each of which multiplies matrices on its own thread while others count.

    If a BLAS library spread one product over all cores, the workers would wait for each other. So each product gets an
    equal share of the library's threads, whose number is its default or set by ``OMP_NUM_THREADS`` and the like; the
    number is restored afterwards. A library that cannot be limited (Apple's Accelerate) keeps its threads.
    """
    libraries = ThreadpoolController().select(user_api="blas")
    threads = max((library["num_threads"] for library in libraries.info()), default=1)
    workers = min(_MOST_WORKERS, threads + 1)  # one more, so that no core is idle while a worker waits for memory
    with libraries.limit(limits=max(1, threads // workers)), ThreadPoolExecutor(workers) as pool:
        yield pool
