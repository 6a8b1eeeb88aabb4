"""Blocks of a large computation side by side, on as many threads as its matrix products alone would use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

_MOST_WORKERS = 8
"""Each holds a block; more would add memory and little speed."""


@contextmanager
def block_pool() -> Iterator[ThreadPoolExecutor]:
    """Workers that each multiply matrices on a thread of their own while others count.

    A BLAS library that spreads one product over all cores makes the workers wait for each other. Meanwhile each
    product gets an equal share of the threads that the library has, by itself or by ``OMP_NUM_THREADS`` and the like;
    afterwards it has them back. A library that cannot be told (Apple's Accelerate) keeps its threads.
    """
    libraries = ThreadpoolController().select(user_api="blas")
    threads = max((library["num_threads"] for library in libraries.info()), default=1)
    workers = min(_MOST_WORKERS, threads + 1)  # one more: no core waits while a worker waits for memory
    with libraries.limit(limits=max(1, threads // workers)), ThreadPoolExecutor(workers) as pool:
        yield pool
