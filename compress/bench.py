"""Latency of every artifact of a bundle, side by side: interleaved rounds, so that all meet the same noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compress import plugins
from compress.contracts import BadInput, MissingTool, Runtime
from compress.golden import read_golden
from compress.manifest import read_manifest
from compress.progress import say, ticker

ROUNDS, WARM_UP, TIMED = 5, 20, 100


@dataclass(frozen=True)
class Timing:
    """One artifact on one runtime: milliseconds per single image.

    Attributes:
        median: of the rounds' medians.
        p95: of the rounds' 95th percentiles, their median.
        peak_bytes: most memory of the child process, interpreter and libraries included.
        reason: why nothing was timed; the numbers are then 0.
    """

    path: str
    runtime: str
    median: float = 0.0
    p95: float = 0.0
    peak_bytes: int = 0
    reason: str | None = None


def bench(folder: Path, runtime: str | None = None, threads: int = 1) -> list[Timing]:
    """Time every artifact on the golden images, each round in a fresh child process.

    Args:
        runtime: time on this one only.
        threads: of the runtime.

    Raises:
        BadInput: no bundle, no such runtime, or fewer than one thread.
        MissingTool: the named runtime, or every runtime, cannot run here.
    """
    from validators import runtimes_for
    from validators.isolation import Execution, execute

    if threads < 1:
        raise BadInput(f"--threads {threads}: give 1 or more")
    manifest = read_manifest(folder)
    images = read_golden(folder / "golden").images
    pairs: list[tuple[str, Runtime]] = []
    for artifact in manifest["artifacts"]:
        # A reference executor's time says nothing about any runtime.
        known = [each for each in runtimes_for(artifact["format"]) if each.evidence != "reference"]
        pairs += [(artifact["path"], each) for each in known if runtime in (None, each.component_name())]
    if runtime is not None and runtime not in plugins.names("runtimes"):
        plugins.find("runtimes", runtime)  # says which there are
    reasons = {pair: pair[1].unavailable() for pair in pairs}
    able = [pair for pair in pairs if reasons[pair] is None]
    if not able:
        why = next(iter(reasons.values()), f"no artifact of this bundle runs on {runtime}")
        raise MissingTool(f"{folder}: nothing can be timed here ({why})")
    rounds: dict[tuple[str, Runtime], list[Execution]] = {pair: [] for pair in able}
    with ticker("bench", ROUNDS * len(able), "runs") as bar:
        for _ in range(ROUNDS):
            for path, each in able:
                one = {"images": images[:1]}
                rounds[path, each].append(execute(each, folder / path, one, threads=threads, latency=(WARM_UP, TIMED)))
                bar.advance(1, path)
    return [_timing(path, each, rounds[path, each]) for path, each in able]


def _timing(path: str, runtime: Runtime, rounds: Sequence) -> Timing:
    name = runtime.component_name()
    failure = next((r.failure for r in rounds if r.failure is not None), None)
    if failure is not None:
        say(f"bench: {failure}")
        return Timing(path, name, reason=failure)
    medians, tails = ([getattr(r.latency, field) for r in rounds] for field in ("median", "p95"))
    peak = max(r.peak_bytes or 0 for r in rounds)
    return Timing(path, name, statistics.median(medians), statistics.median(tails), peak)
