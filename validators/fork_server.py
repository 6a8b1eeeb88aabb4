"""Execute artifacts one after the other, each in a process of its own, without importing their libraries each time.

A child process imports a runtime's libraries once, and is then copied (forked) for every artifact: torch and
coremltools take seconds to import, and an artifact that aborts ends only its copy.
"""

from __future__ import annotations

import io
import json
import shutil
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from compress.contracts import ImageArray, Runtime
from compress.system.child import Child, ChildFailed, child, outcome
from validators.child import job_for
from validators.fork_server_child import serve
from validators.isolation import Execution, execute, finished, image_files, save_images


class ForkServer:
    """Executes artifacts as ``validators.isolation.execute`` does. Several threads may use it, one at a time.

    On other systems than Linux, where libraries do not survive a fork, and for runtimes with another interpreter or
    with processes of their own, it calls that function instead.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._running: ExitStack | None = None
        self._count = 0
        self._child: Child
        self._requests: socket.socket
        self._replies: io.BufferedReader

    def execute(
        self, runtime: Runtime, artifact: Path, images: Mapping[str, ImageArray], *, timeout_s: float = 600
    ) -> Execution:
        """Embed ``images``, uint8 [N, H, W, 3] by name, with ``artifact``; nothing is timed."""
        if not _can_fork(runtime):
            return execute(runtime, artifact, images, timeout_s=timeout_s)
        with self._turn:
            try:
                return self._executed(runtime, artifact, images, timeout_s)
            except (ChildFailed, OSError) as error:
                failed = error if isinstance(error, ChildFailed) else ChildFailed.raised(str(error))
                what = f"{runtime.title()} on {artifact.name}"
                return Execution(failure=f"{what} {failed.line}", lacking=failed.lacking)

    def close(self) -> None:
        """End the child process; the next execution starts it again."""
        with self._turn:
            self._stop()

    def _executed(
        self, runtime: Runtime, artifact: Path, images: Mapping[str, ImageArray], timeout_s: float
    ) -> Execution:
        if self._running is not None and (self._child.process.poll() is not None or not self._child.scratch.exists()):
            self._stop()  # it ended while nothing was asked, or its folder was cleared
        if self._running is None:
            self._start()
        self._count += 1
        scratch = self._child.scratch / str(self._count)
        scratch.mkdir()
        try:
            files = image_files(images)
            for name, array in images.items():
                save_images(scratch / files[name], array)
            job = job_for(runtime, artifact=str(artifact.absolute()), threads=1, images=files, latency=None)
            request = {"imports": runtime.imports, "scratch": str(scratch), "job": job}
            status = self._ask(json.dumps(request).encode(), timeout_s)
            return finished(runtime, outcome(scratch, status), scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _ask(self, request: bytes, timeout_s: float) -> int:
        """Let the child execute one job; returns the exit status of the process that did."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            self._requests.sendall(request + b"\n")
            line = self._replies.readline()
            if not line.endswith(b"\n"):
                raise EOFError
            status: int = json.loads(line)["status"]
            return status
        except (EOFError, ConnectionError):
            failed = self._child.late(timeout_s) if late.is_set() else self._child.ended()
            self._stop()
            raise failed from None
        finally:
            timer.cancel()

    def _start(self) -> None:
        with ExitStack() as stack:
            self._requests, theirs = socket.socketpair()
            stack.enter_context(self._requests)
            self._replies = stack.enter_context(self._requests.makefile("rb"))
            with theirs:
                number = theirs.fileno()
                self._child = stack.enter_context(child(serve, {"socket": number}, pass_fds=[number]))
            self._child.begin()
            self._running = stack.pop_all()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None


def _can_fork(runtime: Runtime) -> bool:
    own = runtime.interpreter() == sys.executable and not runtime.emulator()
    return sys.platform == "linux" and own and not runtime.own_sockets and not runtime.device_files()
