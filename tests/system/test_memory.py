"""Freed tensors serve the next ones within the block, and the system gets its memory back behind it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# In a process of its own, because malloc raises its thresholds with what a process has freed before.
SCRIPT = """
import ctypes, json, resource, torch
from compress.system import memory

def page_faults():  # of making and freeing tensors of 40 MB, one after the other
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():  # pages
    return int(open("/proc/self/statm").read().split()[1])

outside = page_faults()
before = resident()
with memory.kept():
    inside = page_faults()
    kept = resident() - before
print(json.dumps([hasattr(ctypes.CDLL(None), "mallopt"), outside, inside, kept, resident() - before]))
"""


@pytest.mark.nightly
def test_large_tensors_are_mapped_once_within_the_block_and_unmapped_behind_it() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    glibc, outside, inside, kept, after = json.loads(ended.stdout)
    assert outside > 0
    if glibc:
        assert inside < outside / 2
        assert after < kept / 2
