"""Keep an artifact loaded in a child process for a server, so that its runtime starts once and not for every image."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import Runtime
from compress.system.child import ChildFailed
from validators import ArtifactError, failure_of
from validators.answering_child import AnsweringChild, line_of
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
        self._child = AnsweringChild()

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
                if not self._child.running:
                    self._start()
                return self._ask(images)
            except ChildFailed as failed:
                raise self._error(failed) from failed

    def close(self) -> None:
        """End the child after the image that is being embedded."""
        with self._turn:
            self._child.stop()

    def _ask(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        request = json.dumps(images.shape).encode() + b"\n" + images.tobytes()
        reply, embedding = self._child.ask(request, _reply, timeout_s=self._timeout_s)
        if "failure" in reply:
            raise ChildFailed.raised(reply["failure"])
        return np.frombuffer(embedding, np.float32).reshape(len(images), -1), reply["milliseconds"]

    def _start(self) -> None:
        runtime = self._runtime
        self._child.start(
            serve,
            job_for(runtime, artifact=str(self._artifact.absolute()), threads=self._threads),
            interpreter=runtime.interpreter(),
            emulator=runtime.emulator(),
            threads=self._threads,
            writable=runtime.device_files(),
            own_sockets=runtime.own_sockets,
        )

    def _error(self, failed: ChildFailed) -> ArtifactError:
        return failure_of(f"{self.what} {failed.line}", failed.lacking)


def _reply(replies: io.BufferedReader) -> tuple[dict[str, Any], bytes]:
    """The child's answer: its head and the bytes of the embeddings."""
    head: dict[str, Any] = json.loads(line_of(replies))
    body = replies.read(head.get("bytes", 0))
    if len(body) < head.get("bytes", 0):
        raise EOFError
    return head, body
