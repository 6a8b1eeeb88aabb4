"""Keeps an artifact loaded in a child process, for a server: its runtime starts once, not for every image."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Runtime
from validators import ArtifactError
from validators.isolation import child_process, last_words, one_line


class Resident:
    """One artifact on one runtime, in a process that stays.

    It starts with the first image, and again with the next one after it died. Safe to use from several threads:
    one image runs at a time.
    """

    def __init__(self, runtime: Runtime, artifact: Path, *, threads: int = 1, timeout_s: float = 120) -> None:
        """``timeout_s`` bounds loading and the first image, then each image; a child that takes longer is killed."""
        self._runtime, self._artifact, self._threads, self._timeout_s = runtime, artifact, threads, timeout_s
        self._what = f"{runtime.component_name()} on {artifact.name}"
        self._turn = threading.Lock()
        self._running: ExitStack | None = None
        self._child: subprocess.Popen[bytes]
        self._replies: io.BufferedReader
        self._scratch: Path

    def embed(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Embed one image.

        Args:
            image: uint8 [H, W, 3], RGB, values 0-255, at the artifact's input size.

        Returns:
            The embedding, float32 [1, D], and the milliseconds that the warm runtime took for it.

        Raises:
            ArtifactError: the artifact did not load or run, or took too long; the message says why.
        """
        with self._turn:
            try:
                if self._running is None:
                    self._start()
                return self._ask(image)
            except OSError as error:
                self._stop()
                raise ArtifactError(f"{self._what} could not be run: {one_line(str(error))}") from error

    def close(self) -> None:
        """End the child; an image that is being embedded ends first."""
        with self._turn:
            self._stop()

    def _ask(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

        timer = threading.Timer(self._timeout_s, stop)
        timer.start()
        try:
            reply, embedding = self._exchange(image)
        except EOFError:
            status = self._child.wait()
            took_long = f"did not finish within {self._timeout_s:g} s and was stopped"
            reason = took_long if late.is_set() else last_words(status, self._scratch)
            self._stop()
            raise ArtifactError(f"{self._what} {reason}") from None
        finally:
            timer.cancel()
        if "failure" in reply:
            raise ArtifactError(f"{self._what} failed: {one_line(reply['failure'])}")
        return np.frombuffer(embedding, np.float32).reshape(1, -1), reply["milliseconds"]

    def _exchange(self, image: np.ndarray) -> tuple[dict[str, Any], bytes]:
        """The child's answer. Raises EOFError when the child has gone."""
        assert self._child.stdin is not None
        request = memoryview(json.dumps(image.shape).encode() + b"\n" + image.tobytes())
        try:
            while request:
                request = request[self._child.stdin.write(request) :]
        except BrokenPipeError:
            raise EOFError from None
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
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="compress-", ignore_cleanup_errors=True))
            self._scratch = Path(folder).resolve()
            job = {
                "runtime": f"{type(self._runtime).__module__}:{type(self._runtime).__qualname__}",
                "options": self._runtime.options(),
                "artifact": str(self._artifact.absolute()),
                "threads": self._threads,
                "scratch": str(self._scratch),
            }
            module = ("validators.resident_child", json.dumps(job))
            interpreter = self._runtime.interpreter()
            self._child = stack.enter_context(
                child_process(interpreter, module, self._scratch, self._threads, subprocess.PIPE)
            )
            assert isinstance(self._child.stdout, io.RawIOBase)
            self._replies = io.BufferedReader(self._child.stdout)
            self._running = stack.pop_all()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
