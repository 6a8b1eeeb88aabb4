"""The child process's part: open an artifact on its runtime, embed images and time them.

It needs only NumPy and the runtime's library, so that an old runtime's interpreter can run it, too.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Embedder, Latency, Runtime, host_processor
from compress.contracts.runtimes import in_turn
from compress.plugins import code
from compress.system import sandbox

Clock = Callable[[Embedder, Sequence[np.ndarray], int, int], list[float]]
"""Takes what ``in_turn`` takes, gives what it gives."""


def job_for(runtime: Runtime, **more: Any) -> dict[str, Any]:
    """Make a job, as JSON values, from which ``runtime_of`` makes the same runtime in the child."""
    return {"runtime": code.address_of(type(runtime)), "options": runtime.options(), **more}


def runtime_of(job: Mapping[str, Any]) -> Runtime:
    """Make the runtime that a job names."""
    module, _, name = job["runtime"].rpartition(":")
    # Only an address of the user's own file is a path.
    made = code.load(job["runtime"]) if module.endswith(".py") else getattr(importlib.import_module(module), name)
    runtime = made(**job["options"])
    assert isinstance(runtime, Runtime)
    return runtime


def run(job: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Embed all images; the job of ``validators.isolation.execute``.

    Args:
        job: ``artifact``; ``images`` by name, each a .npy file in ``scratch``, uint8 [N, H, W, 3]; ``threads``;
            ``latency``, which is (warm-up runs, measured runs) or None.

    Returns:
        ``outputs`` by name, each a .npy file in ``scratch``, float32 [N, D]; ``version``, ``latency``, ``peak_bytes``,
        ``notes``; ``acceleration``, which operations an accelerator executes, or None; ``processor``, the kind of CPU
        that this process runs on; ``sandbox``, the restrictions of the child.
    """
    runtime = runtime_of(job)
    embed = runtime.open(Path(job["artifact"]), job["threads"])
    images = {name: np.load(scratch / file, mmap_mode="r") for name, file in job["images"].items()}
    outputs = {name: f"output{i}.npy" for i, name in enumerate(images)}
    for name, array in images.items():
        np.save(scratch / outputs[name], embeddings(embed, array))
    latency = None
    if job["latency"] is not None:
        warmup, repeats = job["latency"]
        latency = asdict(measure(embed, images, warmup, repeats, job["threads"], runtime.milliseconds))
    accelerated = runtime.acceleration(embed)
    return {
        "outputs": outputs,
        "version": runtime.version(),
        "latency": latency,
        "peak_bytes": peak_bytes(runtime.process(embed)),
        "notes": runtime.notes(embed),
        "processor": host_processor(),
        "acceleration": None if accelerated is None else asdict(accelerated),
        "sandbox": sandbox.held(),
    }


def embeddings(embed: Embedder, images: np.ndarray) -> np.ndarray:
    """Embed N images, also for N = 0: float32 [N, D].

    Raises:
        ValueError: the artifact gave another shape or type.
    """
    if len(images) == 0:
        # No runtime takes an empty batch; D is found with one black image.
        return embeddings(embed, np.zeros((1, *images.shape[1:]), np.uint8))[:0]
    return checked(embed(images), len(images))


def checked(found: Any, count: int) -> np.ndarray:
    """What an embedder gave for this many images, if it is float32 [count, D].

    Raises:
        ValueError: it has another shape or type.
    """
    kind = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else str(found)
    if not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) != count or found.dtype != np.float32:
        raise ValueError(f"expected an output float32 [{count}, D], found {kind}")
    return found


def measure(
    embed: Embedder,
    images: Mapping[str, np.ndarray],
    warmup: int,
    repeats: int,
    threads: int,
    clock: Clock = in_turn,
) -> Latency:
    """Time single-image runs on the given images in turn; each is read from disk and copied before it is timed."""
    singles = [np.array(array[i : i + 1]) for array in images.values() for i in range(min(len(array), 16))]
    if not singles:
        raise ValueError("latency needs at least one image")
    median, p95 = np.percentile(clock(embed, singles, warmup, repeats), [50, 95])
    return Latency(median=float(median), p95=float(p95), threads=threads)


def peak_bytes(process: int | None = None) -> int | None:
    """The peak memory of this process, or of one that it started; None if the system does not say."""
    status = Path(f"/proc/{process or os.getpid()}/status")
    if status.exists():
        # On Linux ru_maxrss starts with the memory of the parent when it started this process.
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if process not in (None, os.getpid()):
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
