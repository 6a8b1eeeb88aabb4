"""Execute artifacts one after the other, each in a process of its own, without importing their libraries each time.

A child process imports a runtime's libraries once, and is then copied (forked) for every artifact: torch and
coremltools take seconds to import, and an artifact that aborts ends only its copy.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from compress.contracts import ImageArray, Runtime
from compress.system.child import ChildFailed, outcome
from validators.answering_child import AnsweringChild, line_of
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
        self._child = AnsweringChild()
        self._count = 0

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
            self._child.stop()

    def _executed(
        self, runtime: Runtime, artifact: Path, images: Mapping[str, ImageArray], timeout_s: float
    ) -> Execution:
        if not self._child.alive:  # or it ended while nothing was asked, or its folder was cleared
            self._child.stop()
            self._child.start(serve, {})
        self._count += 1
        scratch = self._child.scratch / str(self._count)
        scratch.mkdir()
        try:
            files = image_files(images)
            for name, array in images.items():
                save_images(scratch / files[name], array)
            job = job_for(runtime, artifact=str(artifact.absolute()), threads=1, images=files, latency=None)
            request = {"imports": runtime.imports, "scratch": str(scratch), "job": job}
            status = self._child.ask(json.dumps(request).encode() + b"\n", _status, timeout_s=timeout_s)
            return finished(runtime, outcome(scratch, status), scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _status(replies: io.BufferedReader) -> int:
    """The exit status of the process that executed the job."""
    status: int = json.loads(line_of(replies))["status"]
    return status


def _can_fork(runtime: Runtime) -> bool:
    own = runtime.interpreter() == sys.executable and not runtime.emulator()
    return sys.platform == "linux" and own and not runtime.own_sockets and not runtime.device_files()
