"""Keep an artifact loaded in a child process for a server, so that its runtime starts once and not for every image."""

from __future__ import annotations

import io
import json
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Runtime
from compress.system.child import Child, ChildFailed, child
from validators import ArtifactError, failure_of
from validators.child import job_for
from validators.resident_child import serve


class Resident:
    """One artifact on one runtime, loaded in a process that keeps running.

    The process starts with the first image; if it dies, it is started again with the next image. Several threads may
    use it; one image runs at a time.
    """

    def __init__(self, runtime: Runtime, artifact: Path, *, threads: int = 1, timeout_s: float = 120) -> None:
        """``timeout_s`` bounds loading and the first request, then each one; a child that takes longer is killed."""
        self._runtime, self._artifact, self._threads, self._timeout_s = runtime, artifact, threads, timeout_s
        self.what = f"{runtime.title()} on {artifact.name}"
        self._turn = threading.Lock()
        self._running: ExitStack | None = None
        self._child: Child
        self._requests: socket.socket
        self._replies: io.BufferedReader

    def embed(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Embed one image.

        Args:
            image: uint8 [H, W, 3], RGB, values 0-255, at the artifact's input size.

        Returns:
            The embedding, float32 [1, D], and the milliseconds that the warm runtime took for it.

        Raises:
            ArtifactError: the artifact did not load or run, or took too long; the message says why.
        """
        return self._embedded(image[None])

    def embed_all(self, images: np.ndarray) -> np.ndarray:
        """Embed uint8 [N, H, W, 3] one by one, so that an embedding does not depend on its batch: float32 [N, D].

        Raises:
            ArtifactError: as ``embed``.
        """
        return self._embedded(images)[0]

    def _embedded(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        with self._turn:
            try:
                if self._running is None:
                    self._start()
                return self._ask(images)
            except ChildFailed as failed:
                raise self._error(failed) from failed

    def close(self) -> None:
        """End the child after the image that is being embedded."""
        with self._turn:
            self._stop()

    def _ask(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(self._timeout_s, stop)
        timer.start()
        try:
            reply, embedding = self._exchange(images)
        except (EOFError, ConnectionError):
            failed = self._child.ended()
            if late.is_set():
                failed = self._child.late(self._timeout_s)
            self._stop()
            raise self._error(failed) from None
        finally:
            timer.cancel()
        if "failure" in reply:
            raise self._error(ChildFailed.raised(reply["failure"]))
        return np.frombuffer(embedding, np.float32).reshape(len(images), -1), reply["milliseconds"]

    def _exchange(self, images: np.ndarray) -> tuple[dict[str, Any], bytes]:
        """Send images and receive the child's answer.

        Raises:
            EOFError, ConnectionError: the child has ended.
        """
        self._requests.sendall(json.dumps(images.shape).encode() + b"\n" + images.tobytes())
        line = self._replies.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        reply: dict[str, Any] = json.loads(line)
        embedding = self._replies.read(reply.get("bytes", 0))
        if len(embedding) < reply.get("bytes", 0):
            raise EOFError
        return reply, embedding

    def _start(self) -> None:
        with ExitStack() as stack:
            self._requests, theirs = socket.socketpair()
            stack.enter_context(self._requests)
            self._replies = stack.enter_context(self._requests.makefile("rb"))
            with theirs:
                number, path = theirs.fileno(), str(self._artifact.absolute())
                job = job_for(self._runtime, artifact=path, threads=self._threads, socket=number)
                started = child(
                    serve,
                    job,
                    interpreter=self._runtime.interpreter(),
                    emulator=self._runtime.emulator(),
                    threads=self._threads,
                    pass_fds=[number],
                    writable=self._runtime.device_files(),
                    own_sockets=self._runtime.own_sockets,
                )
                self._child = stack.enter_context(started)
            self._child.begin()
            self._running = stack.pop_all()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None

    def _error(self, failed: ChildFailed) -> ArtifactError:
        return failure_of(f"{self.what} {failed.line}", failed.lacking)
