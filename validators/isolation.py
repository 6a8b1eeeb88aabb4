"""Run an artifact in a child process, so that a runtime that aborts or hangs is reported and does not end the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Acceleration, ImageArray, Latency, Processor, Runtime
from compress.system.child import ChildFailed, Lacking, child
from compress.system.sandbox import Denied
from validators.child import job_for, run

SLICE_BYTES = 1 << 26
CPUS: Mapping[Processor, str] = {"x86": "an x86 processor", "arm": "an Arm processor"}
"""The processors that a child process sees itself, in words."""


@dataclass(frozen=True)
class Execution:
    """The result of executing one artifact on one runtime: either outputs or a failure.

    Attributes:
        outputs: float32 [N, D] for every name in ``images``; None when the run failed.
        version: the library that executed, with its version; empty when the run failed.
        peak_bytes: peak memory of the process that executed, its libraries included; None if it is not known.
        failure: one line that says what went wrong; None if nothing did.
        lacking: what the machine lacked, if that is why it failed; such a failure says nothing about the artifact.
        notes: what the runtime noticed while executing, one line each.
        acceleration: which operations an accelerator executed; None if there is none.
        sandbox: the restrictions of the child: no writing outside its own folder ("filesystem"), no connections except
            between its own processes ("network"); empty if the system does not support them (``docs/security.md``).
    """

    outputs: dict[str, np.ndarray] | None = None
    version: str = ""
    latency: Latency | None = None
    peak_bytes: int | None = None
    failure: str | None = None
    lacking: Lacking | None = None
    notes: tuple[str, ...] = ()
    acceleration: Acceleration | None = None
    sandbox: tuple[Denied, ...] = ()


def execute(
    runtime: Runtime,
    artifact: Path,
    images: Mapping[str, ImageArray],
    *,
    threads: int = 1,
    latency: tuple[int, int] | None = None,
    timeout_s: float = 600,
) -> Execution:
    """Embed ``images`` with ``artifact`` in a child process.

    The artifact and its runtime cannot raise an error here: a Python error, an abort, a hang and a wrong output all are
    returned as ``failure``. The system's temporary folder needs as much space as the images.

    Args:
        runtime: an instance of a class that can be imported by name.
        artifact: a file, or a folder such as a .mlpackage.
        images: uint8 [N, H, W, 3] by name; N may be 0.
        threads: how many threads the runtime may use.
        latency: (warm-up runs, measured runs) of single images, or None to measure nothing.
        timeout_s: after this many seconds the child and all its children are killed.
    """
    files = image_files(images)
    path = str(artifact.absolute())
    job = job_for(runtime, artifact=path, threads=threads, images=files, latency=latency)
    try:
        # The child starts first, because it removes the images even if this process is killed while writing them.
        with child(
            run,
            job,
            interpreter=runtime.interpreter(),
            emulator=runtime.emulator(),
            threads=threads,
            writable=runtime.device_files(),
            own_sockets=runtime.own_sockets,
        ) as started:
            for name, array in images.items():
                save_images(started.scratch / files[name], array)
            return finished(runtime, started.result(timeout_s), started.scratch)
    except ChildFailed as failed:
        what = f"{runtime.title()} on {artifact.name}"
        return Execution(failure=f"{what} {failed.line}", lacking=failed.lacking)


def image_files(images: Mapping[str, ImageArray]) -> dict[str, str]:
    """The names, in the child's folder, of the files that hold the images."""
    return {name: f"images{i}.npy" for i, name in enumerate(images)}


def finished(runtime: Runtime, result: Mapping[str, Any], scratch: Path) -> Execution:
    """What ``validators.child.run`` returned, with the outputs that it left in ``scratch``.

    Raises:
        ChildFailed: it ran on another kind of processor.
    """
    expected, ran_on = runtime.processor(), result["processor"]
    if expected in CPUS and ran_on != expected:
        raise ChildFailed(f"was executed on {CPUS[ran_on]}, not on {CPUS[expected]}")
    outputs = {name: np.load(scratch / file) for name, file in result["outputs"].items()}
    timing = Latency(**result["latency"]) if result["latency"] else None
    accelerated = result["acceleration"]
    return Execution(
        outputs,
        result["version"],
        timing,
        result["peak_bytes"],
        notes=tuple(result["notes"]),
        acceleration=accelerated and Acceleration(accelerated["share"], tuple(accelerated["others"])),
        sandbox=tuple(result["sandbox"]),
    )


def save_images(path: Path, images: ImageArray) -> None:
    """Write a .npy file slice by slice: ``images`` may be decoded while it is read, and larger than memory."""
    first = np.asarray(images[:1])
    step = max(1, SLICE_BYTES // max(1, first.nbytes))
    with path.open("wb") as file:
        # Plain writes, because with a memory map a full disk would kill this process with SIGBUS.
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *first.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(images), step):
            batch = np.asarray(images[start : start + step])
            assert batch.dtype == np.uint8, f"images must be uint8, not {batch.dtype}"
            file.write(batch.tobytes())
