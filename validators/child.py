"""Runs one artifact once, in a process of its own: ``python -m validators.child JOB.json``.

``validators.isolation`` writes the job, starts this module and reads what it leaves. The module needs NumPy, the
runtime's library and nothing else, so that an old runtime's interpreter can run it as well.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Embedder, Latency
from compress.system.files import atomic, write_text

IMAGES_WRITTEN = b"\n"
"""What the parent writes to stdin, once, when every image file is whole."""


@dataclass(frozen=True)
class Job:
    """What the child is to do; paths are absolute.

    Attributes:
        runtime: ``module:Class`` of a ``contracts.Runtime``; ``options`` are its fields.
        images: name -> .npy file, uint8 [N, H, W, 3].
        outputs: name -> .npy file to write, float32 [N, D].
        result: JSON file to write last: ``version``, ``latency``, ``peak_bytes``, ``notes``, or ``failure`` alone.
        latency: (warm-up runs, measured runs), or None.
        scratch: folder to delete should the parent process die.
    """

    runtime: str
    options: Mapping[str, Any]
    artifact: str
    images: Mapping[str, str]
    outputs: Mapping[str, str]
    result: str
    threads: int
    latency: Sequence[int] | None
    scratch: str


def wait_for_images(scratch: Path) -> None:
    """Return when the parent has written all images."""
    if os.read(0, 1) != IMAGES_WRITTEN:
        clean_up_and_end(scratch)


def watch_parent(scratch: Path) -> None:
    """End this process when the parent has gone, however it went.

    The parent holds the other end of stdin open and writes no more, so the read below returns only when the
    kernel closes that end. Linux could signal instead (PR_SET_PDEATHSIG), but macOS can't, and that signal
    also fires when only the parent's *thread* ends.
    """

    def wait() -> None:
        os.read(0, 1)  # sys.stdin would hold a lock that the interpreter's shutdown needs
        clean_up_and_end(scratch)

    threading.Thread(target=wait, daemon=True).start()


def clean_up_and_end(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def run(job: Job) -> dict[str, Any]:
    """Write every output, and return what goes into the result file."""
    module, _, name = job.runtime.partition(":")
    runtime = getattr(importlib.import_module(module), name)(**job.options)
    embed = runtime.open(Path(job.artifact), job.threads)
    images = {name: np.load(path, mmap_mode="r") for name, path in job.images.items()}
    for name, array in images.items():
        save(Path(job.outputs[name]), embeddings(embed, array))
    latency = None
    if job.latency is not None:
        warmup, repeats = job.latency
        latency = asdict(measure(embed, images, warmup, repeats, job.threads))
    notes = list(runtime.notes(embed))
    return {"version": runtime.version(), "latency": latency, "peak_bytes": peak_bytes(), "notes": notes}


def embeddings(embed: Embedder, images: np.ndarray) -> np.ndarray:
    """float32 [N, D] for N images, also for N = 0.

    Raises:
        ValueError: the artifact gave another shape or type.
    """
    if len(images) == 0:
        # No runtime takes an empty batch; one black image tells D.
        return embeddings(embed, np.zeros((1, *images.shape[1:]), np.uint8))[:0]
    found: Any = embed(images)
    kind = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else str(found)
    if not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) != len(images) or found.dtype != np.float32:
        raise ValueError(f"expected an output float32 [{len(images)}, D], found {kind}")
    return found


def measure(embed: Embedder, images: Mapping[str, np.ndarray], warmup: int, repeats: int, threads: int) -> Latency:
    """Time single-image runs on the given images in turn, each read from disk and copied beforehand."""
    singles = [np.array(array[i : i + 1]) for array in images.values() for i in range(min(len(array), 16))]
    if not singles:
        raise ValueError("latency needs at least one image")
    for image in islice(cycle(singles), warmup):
        embed(image)
    milliseconds = []
    gc.collect()
    gc.disable()
    for image in islice(cycle(singles), repeats):
        start = time.perf_counter()
        embed(image)
        milliseconds.append(1000 * (time.perf_counter() - start))
    gc.enable()
    median, p95 = np.percentile(milliseconds, [50, 95])
    return Latency(median=float(median), p95=float(p95), threads=threads)


def peak_bytes() -> int:
    """The most memory this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux ru_maxrss begins with what the parent held when it started this process.
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def save(path: Path, array: np.ndarray) -> None:
    """Write ``array`` so that ``path`` is either absent or whole."""
    with atomic(path) as unfinished:
        np.save(unfinished, array)


def main() -> int:
    """Run the job named on the command line; 0 when every output is there."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    wait_for_images(Path(job.scratch))
    watch_parent(Path(job.scratch))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a runtime that aborts must not leave gigabytes behind
    try:
        result = run(job)
    except Exception as error:
        result = {"failure": f"{type(error).__name__}: {error}"}
    write_text(Path(job.result), json.dumps(result))
    return 0 if "failure" not in result else 1


if __name__ == "__main__":
    sys.exit(main())
