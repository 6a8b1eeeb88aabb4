"""Freed tensors serve the next ones within the block, and the system gets its memory back behind it."""

from __future__ import annotations

import ctypes
import resource

import torch

from compress import memory


def page_faults() -> int:
    """Of making and freeing tensors of 40 MB, one after the other; malloc takes a few until one fits the next."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_large_tensors_are_mapped_once_within_the_block() -> None:
    outside = page_faults()
    with memory.kept():
        inside = page_faults()
    after = page_faults()
    if hasattr(ctypes.CDLL(None), "mallopt"):  # glibc's
        assert inside < outside / 2
        assert after > 2 * inside
    assert outside > 0
