"""Measure the latency of all artifacts of a bundle in interleaved rounds, so that noise affects all alike."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.bundle.golden import read_golden
from compress.bundle.manifest import read_manifest
from compress.contracts import BadInput, MissingTool, OperatorTime, Runtime
from compress.system.progress import say, ticker

if TYPE_CHECKING:
    from validators.isolation import Execution

ROUNDS, WARM_UP, TIMED = 5, 20, 100


@dataclass(frozen=True)
class Subject:
    """A file to be timed, with the runtime that executes it."""

    name: str
    runtime: Runtime
    file: Path


@dataclass(frozen=True)
class Timing:
    """The latency of one artifact on one runtime, in milliseconds per single image.

    Attributes:
        median: median of the rounds' medians.
        p95: median of the rounds' 95th percentiles.
        peak_bytes: peak memory of the child process, interpreter and libraries included.
        reason: why nothing was timed; the numbers are then 0.
        operators: time by operator, the slowest first, or one line that says why the runtime cannot measure it; None
            if no profile was requested.
    """

    path: str
    runtime: str
    median: float = 0.0
    p95: float = 0.0
    peak_bytes: int = 0
    reason: str | None = None
    operators: Sequence[OperatorTime] | str | None = None


def bench(folder: Path, runtime: str | None = None, threads: int = 1, profile: bool = False) -> list[Timing]:
    """Time every artifact on the golden images, each round in a fresh child process.

    Args:
        runtime: time on this runtime only.
        threads: number of threads of the runtime.
        profile: also measure the time by operator.

    Raises:
        BadInput: there is no bundle or no such runtime, or ``threads`` is below 1.
        MissingTool: the named runtime, or every runtime, cannot run here.
    """
    from validators import runtime_named, runtimes_for

    if threads < 1:
        raise BadInput(f"--threads {threads}: give 1 or more")
    manifest = read_manifest(folder)
    images = read_golden(folder / "golden").images
    named = None if runtime is None else runtime_named(runtime)
    if named is not None and not named.timed():
        raise BadInput(f"--runtime {runtime}: its time says nothing about a device (evidence {named.evidence()})")
    pairs: list[tuple[str, Runtime]] = []
    for artifact in manifest.artifacts:
        known = runtimes_for(artifact.format) if named is None else [named]
        # The time of an emulator or a reference executor says nothing about any processor.
        pairs += [(artifact.path, each) for each in known if artifact.format in each.formats and each.timed()]
    reasons = {pair: pair[1].unavailable() for pair in pairs}
    able = [pair for pair in pairs if reasons[pair] is None]
    if not able:
        why = next(iter(reasons.values()), f"no artifact of this bundle runs on {runtime}")
        raise MissingTool(f"{folder}: nothing can be timed here ({why})")
    return side_by_side([Subject(path, each, folder / path) for path, each in able], images[:1], threads, profile)


def side_by_side(
    subjects: Sequence[Subject], image: np.ndarray, threads: int = 1, profile: bool = False
) -> list[Timing]:
    """Time files in turn, round after round, each in a fresh child process, so that noise affects all alike.

    Args:
        image: uint8 [1, H, W, 3].
        profile: also measure the time by operator.
    """
    from validators.isolation import execute
    from validators.operators import operators

    rounds: list[list[Execution]] = [[] for _ in subjects]
    with ticker("bench", ROUNDS * len(subjects), "runs") as bar:
        for _ in range(ROUNDS):
            for subject, done in zip(subjects, rounds, strict=True):
                latency = (WARM_UP, TIMED)
                done.append(execute(subject.runtime, subject.file, {"images": image}, threads=threads, latency=latency))
                bar.advance(1, subject.name)
    timings = [_timing(subject.name, subject.runtime, done) for subject, done in zip(subjects, rounds, strict=True)]
    if not profile:
        return timings
    return [
        timing
        if timing.reason is not None
        else replace(timing, operators=operators(subject.runtime, subject.file, image, threads))
        for subject, timing in zip(subjects, timings, strict=True)
    ]


def _timing(path: str, runtime: Runtime, rounds: Sequence[Execution]) -> Timing:
    from validators import MachineFailed

    name = runtime.title()
    for execution in rounds:
        if execution.lacking is not None:
            raise MachineFailed(f"{execution.failure}; free {execution.lacking} and start again")
    failure = next((r.failure for r in rounds if r.failure is not None), None)
    if failure is not None:
        say(f"bench: {failure}")
        return Timing(path, name, reason=failure)
    timed = [each.latency for each in rounds if each.latency is not None]
    median = statistics.median(latency.median for latency in timed)
    tail = statistics.median(latency.p95 for latency in timed)
    return Timing(path, name, median, tail, max(each.peak_bytes or 0 for each in rounds))
