"""A child process that stays, and answers requests over a pair of sockets."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from compress.system.child import Child, child

Answer = TypeVar("Answer")


class AnsweringChild:
    """At most one child at a time; it can be started again after it ended."""

    def __init__(self) -> None:
        self._running: ExitStack | None = None
        self._child: Child
        self._requests: socket.socket
        self._replies: io.BufferedReader

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor lost; it may have ended since."""
        return self._running is not None

    @property
    def alive(self) -> bool:
        """Whether its process runs and its folder is still there."""
        return self.running and self._child.process.poll() is None and self._child.scratch.exists()

    @property
    def scratch(self) -> Path:
        """The folder in which it may write."""
        return self._child.scratch

    def start(self, function: Callable[[dict[str, Any], Path], Any], job: Mapping[str, Any], **options: Any) -> None:
        """Start ``function``, which finds the number of its open socket as ``job["socket"]``.

        Args:
            options: those of ``compress.system.child.child``.

        Raises:
            ChildFailed: the process could not be made, or ended at once.
        """
        with ExitStack() as stack:
            self._requests, theirs = socket.socketpair()
            stack.enter_context(self._requests)
            self._replies = stack.enter_context(self._requests.makefile("rb"))
            with theirs:
                number = theirs.fileno()
                started = child(function, {**job, "socket": number}, pass_fds=[number], **options)
                self._child = stack.enter_context(started)
            self._child.begin()
            self._running = stack.pop_all()

    def ask(self, request: bytes, receive: Callable[[io.BufferedReader], Answer], *, timeout_s: float) -> Answer:
        """Send a request and receive its answer.

        Args:
            receive: reads the answer; raises EOFError if it is cut off.
            timeout_s: a child that takes longer is killed.

        Raises:
            ChildFailed: the child ended or was too late; it is stopped.
        """
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            self._requests.sendall(request)
            return receive(self._replies)
        except (EOFError, ConnectionError):
            failed = self._child.late(timeout_s) if late.is_set() else self._child.ended()
            self.stop()
            raise failed from None
        finally:
            timer.cancel()

    def stop(self) -> None:
        """End the child, if it was started."""
        if self._running is not None:
            self._running.close()
            self._running = None


def line_of(replies: io.BufferedReader) -> bytes:
    """Read one whole line; raises EOFError if it is cut off."""
    line = replies.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line
