"""Runs an artifact in a child process, so that a runtime that aborts or hangs is a result and not the end of us."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import compress
from compress.contracts import ImageArray, Latency, Runtime
from validators.child import IMAGES_WRITTEN, Job

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# What a virtual environment, or the user, set for this interpreter and another one must not see.
INTERPRETER_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")
PACKAGES = {"compress": Path(compress.__file__).parent, "validators": Path(__file__).parent}
MAX_LINE = 400
SLICE_BYTES = 1 << 26


@dataclass(frozen=True)
class Execution:
    """What became of one artifact on one runtime: either outputs or a failure.

    Attributes:
        outputs: float32 [N, D] for every name in ``images``; None when the run failed.
        version: the library that executed, with its version; empty when the run failed.
        peak_bytes: the most memory the child process held, interpreter and libraries included.
        failure: one line that says what went wrong; None when nothing did.
        notes: what the runtime noticed while executing, one line each.
    """

    outputs: dict[str, np.ndarray] | None = None
    version: str = ""
    latency: Latency | None = None
    peak_bytes: int | None = None
    failure: str | None = None
    notes: tuple[str, ...] = ()


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

    Nothing the artifact or its runtime does raises here: a Python error, an abort, a hang and a wrong output
    all come back as ``failure``. Needs as much room in the system's temporary folder as the images take.

    Args:
        runtime: an instance of a class that can be imported by name.
        artifact: a file, or a folder such as a .mlpackage.
        images: uint8 [N, H, W, 3] by name; N may be 0.
        threads: how many threads the runtime may use.
        latency: (warm-up runs, measured runs) of single images, or None to measure nothing.
        timeout_s: after so many seconds the child and all its children are killed.
    """
    what = f"{runtime.component_name()} on {artifact.name}"
    try:
        with tempfile.TemporaryDirectory(prefix="compress-", ignore_cleanup_errors=True) as scratch:
            return _execute(runtime, artifact, images, threads, latency, timeout_s, Path(scratch).resolve(), what)
    except OSError as error:
        return Execution(failure=f"{what} could not be run: {one_line(str(error))}")


def _execute(
    runtime: Runtime,
    artifact: Path,
    images: Mapping[str, ImageArray],
    threads: int,
    latency: tuple[int, int] | None,
    timeout_s: float,
    scratch: Path,
    what: str,
) -> Execution:
    job = Job(
        runtime=f"{type(runtime).__module__}:{type(runtime).__qualname__}",
        options=runtime.options(),
        artifact=str(artifact.absolute()),
        images={name: str(scratch / f"images{i}.npy") for i, name in enumerate(images)},
        outputs={name: str(scratch / f"output{i}.npy") for i, name in enumerate(images)},
        result=str(scratch / "result.json"),
        threads=threads,
        latency=latency,
        scratch=str(scratch),
    )
    (scratch / "job.json").write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
    # The child starts first: it removes the images also when this process is killed while writing them.
    module = ("validators.child", str(scratch / "job.json"))
    with child_process(runtime.interpreter(), module, scratch, threads) as child:
        for name, array in images.items():
            _save_images(Path(job.images[name]), array)
        status = _run(child, timeout_s)
    if status is None:
        return Execution(failure=f"{what} did not finish within {timeout_s:g} s and was stopped")
    result = _read_result(scratch)
    if "failure" in result:
        return Execution(failure=f"{what} failed: {one_line(result['failure'])}")
    if status != 0 or not result:
        return Execution(failure=f"{what} {last_words(status, scratch)}")
    outputs = {name: np.load(path) for name, path in job.outputs.items()}
    timing = Latency(**result["latency"]) if result["latency"] else None
    return Execution(outputs, result["version"], timing, result["peak_bytes"], notes=tuple(result["notes"]))


def _save_images(path: Path, images: ImageArray) -> None:
    """Write a .npy file slice by slice: ``images`` may be decoded while it is read, and larger than memory."""
    first = np.asarray(images[:1])
    step = max(1, SLICE_BYTES // max(1, first.nbytes))
    with path.open("wb") as file:
        # Plain writes: on a full disk a memory map would kill this process with SIGBUS.
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *first.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(images), step):
            batch = np.asarray(images[start : start + step])
            assert batch.dtype == np.uint8, f"images must be uint8, not {batch.dtype}"
            file.write(batch.tobytes())


@contextmanager
def child_process(
    interpreter: str, module: Sequence[str], scratch: Path, threads: int, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that waits on stdin; it and all it started are killed if still alive at the end.

    Args:
        module: ``python -m`` of these words.
        scratch: a folder for what it prints.
        stdout: ``subprocess.PIPE`` to read it, else it goes where stderr goes.
    """
    packages = scratch / "packages"
    packages.mkdir()
    for name, folder in PACKAGES.items():
        # Links to just these: beside an installed package lie libraries of this Python, not the other's.
        (packages / name).symlink_to(folder)
    with (scratch / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [interpreter, "-m", *module],
            stdin=subprocess.PIPE,
            bufsize=0,
            stdout=stderr if stdout is None else stdout,
            stderr=stderr,
            cwd=packages,
            env=_environment(interpreter, packages, threads),
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _run(child: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Let the child start; its exit status, negative for a signal, or None when it runs out of time."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already; the status says how
        child.stdin.write(IMAGES_WRITTEN)
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


def _environment(interpreter: str, packages: Path, threads: int) -> dict[str, str]:
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    path = [str(packages)]
    if interpreter == sys.executable:
        path += [str(Path(entry).absolute()) for entry in sys.path]
    else:
        for variable in INTERPRETER_VARIABLES:
            environment.pop(variable, None)
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


def _read_result(scratch: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads((scratch / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return result


def _status(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def last_words(status: int, scratch: Path) -> str:
    """How a child ended and the last line that it printed."""
    with (scratch / "stderr").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f"{_status(status)}: {one_line(lines[-1]) if lines else 'it printed nothing'}"


def one_line(text: str) -> str:
    """Messages of C++ libraries run over many lines; head and tail say the most."""
    words = " ".join(text.split())
    half = MAX_LINE // 2
    return words if len(words) <= MAX_LINE else f"{words[:half]} … {words[-half:]}"
