"""Run a function in a child process, so that an abort, a hang or full memory is reported and does not end the run.

``compress.system.child_main`` is the child's half. The two meet in a folder of the child's own, ``scratch``: the parent
writes ``task.json`` there and starts an interpreter, says on its stdin when to begin, and reads ``result.json``. stdin
stays open as long as the parent lives, so that the child ends with it, whatever ended it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import compress
from compress.contracts import CompressError, MissingTool
from compress.system.child_main import BEGIN, PRINTED, RESULT, TASK

Lacking = Literal["memory", "disk space", "time", "a process"]
"""What the machine did not have. Such a failure says nothing about the work, so it is no result: do not store it."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# What a virtual environment, or the user, set for this interpreter and another one must not see.
INTERPRETER_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")
PACKAGES = ("compress", "exporters", "validators")
MAX_LINE = 400
_FULL = 1 << 16
_SIGNS: Mapping[str, Lacking] = {
    "MemoryError": "memory",
    "bad_alloc": "memory",
    "allocate memory": "memory",
    "No space left on device": "disk space",
    "Disk quota exceeded": "disk space",
}


class ChildFailed(Exception):
    """The child gave no result.

    Attributes:
        line: one line that goes on from the name of the work: "failed: …", "was killed by SIGSEGV: …".
        lacking: what the machine lacked; None where the work itself failed.
    """

    def __init__(self, line: str, lacking: Lacking | None = None) -> None:
        super().__init__(line)
        self.line, self.lacking = line, lacking

    @classmethod
    def raised(cls, message: str) -> ChildFailed:
        """The failure of a function that raised an error with this message."""
        return cls(f"failed: {one_line(message)}", lacking(message))

    def error(self, what: str) -> CompressError:
        """The error for users: the line after the name of the work; MissingTool where the machine lacked something."""
        kind = CompressError if self.lacking is None else MissingTool
        return kind(f"{what} {self.line}")


@dataclass(frozen=True)
class Child:
    """A process that has started and waits for ``begin``.

    Attributes:
        scratch: its folder; removed with it.
    """

    scratch: Path
    process: subprocess.Popen[bytes]

    def begin(self) -> None:
        """Let it call its function."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already; its status says how
            self.process.stdin.write(BEGIN)

    def result(self, timeout_s: float | None = None) -> Any:
        """Let it begin, wait until it ends, and return what its function returned, a JSON value.

        Raises:
            ChildFailed: there is no result, or none within ``timeout_s``.
        """
        self.begin()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self.late(timeout_s) from None
        return outcome(self.scratch, self.process.wait())

    def kill(self) -> None:
        """End it and every process that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def late(self, timeout_s: float | None) -> ChildFailed:
        """The failure of a child that is killed after this many seconds."""
        return ChildFailed(f"did not finish within {timeout_s:g} s and was stopped", "time")

    def ended(self) -> ChildFailed:
        """Why it gave no result, once it has ended: its function's error, or its exit and the last line it printed."""
        return _ended(self.scratch, self.process.wait())


@contextmanager
def child(
    function: Callable[[dict[str, Any], Path], Any],
    job: Mapping[str, Any],
    *,
    interpreter: str = sys.executable,
    emulator: Sequence[str] = (),
    threads: int = 1,
    writable: Sequence[Path] = (),
    pass_fds: Sequence[int] = (),
    own_sockets: bool = False,
) -> Iterator[Child]:
    """A child process that will call ``function(job, scratch)``; it ends with the context, and all it started.

    Where the system can, it reaches no network and writes no file outside ``scratch`` (``compress.system.sandbox``).

    Args:
        function: of a module that the interpreter can import; its result is a JSON value.
        job: JSON values.
        interpreter: a Python that may have other libraries; the child's half asks for none.
        emulator: the command before ``interpreter``, with absolute paths, if another processor's is emulated.
        threads: how many threads its libraries may use.
        writable: other folders that it may write in, and files that it may write; absolute.
        pass_fds: open files that the child keeps, at the same numbers.
        own_sockets: it may connect itself, by pairs of sockets, with processes that it starts.

    Raises:
        ChildFailed: the process or its folder could not be made, or the folder could not be filled in the context.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="compress-", ignore_cleanup_errors=True) as folder:
            scratch = Path(folder).resolve()
            name = f"{function.__module__}:{function.__qualname__}"
            confined = {"writable": [str(each) for each in writable], "own_sockets": own_sockets}
            task = {"function": name, "job": job, **confined}
            (scratch / TASK).write_text(json.dumps(task), encoding="utf-8")
            started = Child(scratch, _start(interpreter, emulator, scratch, threads, pass_fds))
            with started.process:
                try:
                    yield started
                finally:
                    if started.process.poll() is None:
                        started.kill()
    except OSError as error:
        raise ChildFailed(f"could not be run: {one_line(str(error))}", lacking(str(error)) or "a process") from error


def call(
    function: Callable[[dict[str, Any], Path], Any],
    job: Mapping[str, Any],
    *,
    interpreter: str = sys.executable,
    timeout_s: float | None = None,
) -> Any:
    """``function(job, scratch)`` from a child process on one thread.

    Raises:
        ChildFailed: it gave no result, or none within ``timeout_s``.
    """
    with child(function, job, interpreter=interpreter) as started:
        return started.result(timeout_s)


def outcome(scratch: Path, status: int) -> Any:
    """What the function of a child that ended with this status returned, a JSON value.

    Args:
        scratch: the folder with its result, and with ``printed``, its output.

    Raises:
        ChildFailed: there is no result.
    """
    found = _left(scratch)
    if "value" not in found:
        raise _ended(scratch, status)
    return found["value"]


def _ended(scratch: Path, status: int) -> ChildFailed:
    words = _last_words(scratch)
    found = _left(scratch)
    if "failure" in found:
        return ChildFailed.raised(found["failure"])
    line = f"{_status(status)}: {one_line(words) or 'it printed nothing'}"
    if status == -signal.SIGKILL:
        return ChildFailed(line, "memory")
    full = shutil.disk_usage(scratch).free < _FULL  # then it could not even print why
    return ChildFailed(line, lacking(words) or ("disk space" if full else None))


def _left(scratch: Path) -> dict[str, Any]:
    """What the child wrote last; nothing where it did not come so far."""
    try:
        found: dict[str, Any] = json.loads((scratch / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _last_words(scratch: Path) -> str:
    with (scratch / PRINTED).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _start(
    interpreter: str, emulator: Sequence[str], scratch: Path, threads: int, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    packages = scratch / "packages"
    packages.mkdir()
    for name in PACKAGES:
        # Links to just these: beside an installed package lie libraries of this Python, not the other's.
        (packages / name).symlink_to(Path(compress.__file__).parent.with_name(name))
    command = [interpreter, "-m", "compress.system.child_main", str(scratch)]
    if emulator:
        command = [sys.executable, "-m", "compress.system.confined", str(scratch), *emulator, *command]
    with (scratch / PRINTED).open("wb") as printed:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            bufsize=0,
            stdout=printed,
            stderr=printed,
            cwd=packages,
            env=_environment(interpreter, packages, threads),
            start_new_session=True,
            pass_fds=pass_fds,
        )


def _environment(interpreter: str, packages: Path, threads: int) -> dict[str, str]:
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    path = [str(packages)]
    if interpreter == sys.executable:
        path += [str(Path(entry).absolute()) for entry in sys.path]
    else:
        for variable in INTERPRETER_VARIABLES:
            environment.pop(variable, None)
    return {**environment, "PYTHONPATH": os.pathsep.join(path), "TMPDIR": str(packages.parent)}


def lacking(message: str) -> Lacking | None:
    """What the machine lacked according to an error message of Python or a C++ library; None if nothing."""
    return next((what for sign, what in _SIGNS.items() if sign in message), None)


def one_line(text: str) -> str:
    """Put a message on one line; of a long one, as C++ libraries write them, keep the beginning and the end."""
    words = " ".join(text.split())
    half = MAX_LINE // 2
    return words if len(words) <= MAX_LINE else f"{words[:half]} … {words[-half:]}"


def _status(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
