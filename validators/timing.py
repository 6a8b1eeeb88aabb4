"""Files side by side in processor time: ``python -m validators.timing RUNTIME JOB.json``.

``timer`` runs that in a child process, because a runtime may abort. Prints one JSON list for each group of files.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress import plugins
from compress.contracts import Candidates, CompressError, Embedder, MissingTool, Runtime, Timer
from validators import runtimes_for

ROUNDS, CALLS, TIMEOUT_S = 40, 3, 3600
"""Calls in a row, since the first of them warms the caches that the files share."""


def timer(format: str) -> Timer:
    """Times files on the format's own runtime, on one thread.

    Processor time and not that of the clock: what other programs do to a shared machine counts little.

    Raises:
        MissingTool: no runtime that may be timed is installed here.
    """
    reasons = []
    for runtime in runtimes_for(format):
        # A reference executor's time says nothing about any runtime.
        reason = "is no runtime of a device" if runtime.evidence == "reference" else runtime.unavailable()
        if reason is None:
            return lambda groups: _timed(runtime, groups)
        reasons.append(f"{runtime.component_name()}: {reason}")
    raise MissingTool(f"nothing can time {format} files here ({'; '.join(reasons)})")


def _timed(runtime: Runtime, groups: Sequence[Candidates]) -> list[list[float]]:
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps([[each.size, [str(file.absolute()) for file in each.files]] for each in groups]))
        # -P: a folder of the user's called 'validators' is not ours.
        command = [runtime.interpreter(), "-P", "-m", __name__, runtime.component_name(), str(job)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder)
        except subprocess.TimeoutExpired as error:
            raise CompressError(f"{runtime.component_name()} did not time {len(groups)} places in an hour") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise CompressError(f"{runtime.component_name()} failed on a file that was to be timed: {last}")
    found: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _side_by_side(embedders: Sequence[Embedder], image: np.ndarray) -> list[float]:
    """Milliseconds of one call each: the median over the rounds; the first, warming round is left out."""
    times: list[list[float]] = [[] for _ in embedders]
    for _ in range(ROUNDS + 1):
        for embed, own in zip(embedders, times, strict=True):
            start = time.process_time()
            for _ in range(CALLS):
                embed(image)
            own.append(1000 * (time.process_time() - start) / CALLS)
    return [statistics.median(own[1:]) for own in times]


def main(name: str, job: str) -> None:
    runtime = plugins.find(Runtime, name)()
    found = []
    for (height, width), files in json.loads(Path(job).read_text()):
        image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        found.append(_side_by_side([runtime.open(Path(file), 1) for file in files], image))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
