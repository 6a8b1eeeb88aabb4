"""Compare the processor time of files."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Candidates, Embedder, MissingTool, Runtime, Timer
from compress.system.child import ChildFailed, call
from validators import runtimes_for
from validators.child import job_for, runtime_of

ROUNDS, CALLS, TIMEOUT_S = 40, 3, 3600
"""Consecutive calls per file, because the first of them warms the caches that the files share."""


def timer(format: str) -> Timer:
    """Make a timer that times files on the format's own runtime, on one thread.

    It measures processor time instead of wall-clock time, which other programs on a shared machine affect less.

    Raises:
        MissingTool: no runtime that can be timed is installed here.
    """
    reasons = []
    for runtime in runtimes_for(format):
        # The time of an emulator or a reference executor says nothing about any processor; a browser's is not ours.
        timed = runtime.timed() and runtime.processor() != "browser"
        reason = runtime.unavailable() if timed else "its time says nothing about a device"
        if reason is None:
            return lambda groups: _timed(runtime, groups)
        reasons.append(f"{runtime.component_name()}: {reason}")
    raise MissingTool(f"nothing can time {format} files here ({'; '.join(reasons)})")


def _timed(runtime: Runtime, groups: Sequence[Candidates]) -> list[list[float]]:
    listed = [[each.size, [str(file.absolute()) for file in each.files]] for each in groups]
    job = job_for(runtime, groups=listed)
    try:
        found: list[list[float]] = call(_times, job, interpreter=runtime.interpreter(), timeout_s=TIMEOUT_S)
    except ChildFailed as failed:
        raise failed.error(f"timing files on {runtime.component_name()}") from failed
    return found


def _times(job: Mapping[str, Any], scratch: Path) -> list[list[float]]:
    """Time each file: milliseconds, by group."""
    runtime, found = runtime_of(job), []
    for (height, width), files in job["groups"]:
        image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        found.append(_side_by_side([runtime.open(Path(file), 1) for file in files], image))
    return found


def _side_by_side(embedders: Sequence[Embedder], image: np.ndarray) -> list[float]:
    """Milliseconds of one call of each: the median over the rounds without the first, which warms up."""
    times: list[list[float]] = [[] for _ in embedders]
    for _ in range(ROUNDS + 1):
        for embed, own in zip(embedders, times, strict=True):
            start = time.process_time()
            for _ in range(CALLS):
                embed(image)
            own.append(1000 * (time.process_time() - start) / CALLS)
    return [statistics.median(own[1:]) for own in times]
