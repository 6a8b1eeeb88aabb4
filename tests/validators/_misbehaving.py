"""Runtimes that do what real ones do on bad days. They ignore the artifact's content."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from compress.contracts import Embedder, Evidence, Runtime

SOCKETS = ("connect", "datagram", "unix socket", "unix connect", "unix datagram", "socket pair")
DEEDS = (*SOCKETS, "create", "change", "empty", "remove", "rename", "link", "own folder")
"""What ``Trespassing`` tries, in this order."""

Deed = Literal["abort", "segfault", "killed", "exit", "raise", "short", "flat", "double", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Misbehaving(Runtime):
    """Loads any artifact, then fails while it embeds."""

    formats: ClassVar[frozenset[str]] = frozenset()
    evidence: ClassVar[Evidence] = "not-run"
    package: ClassVar[str] = "numpy"

    deed: Deed

    def version(self) -> str:
        return "misbehaving 1"

    def open(self, path: Path, threads: int) -> Embedder:
        def embed(images: np.ndarray) -> Any:
            good = np.zeros((len(images), 2), np.float32)
            print("the last words", file=sys.stderr, flush=True)
            match self.deed:
                case "abort":
                    os.abort()
                case "segfault":
                    ctypes.string_at(0)
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(0)
                case "raise":
                    raise RuntimeError("first line\n\n  second line " + "x" * 5000 + " the end")
                case "short":
                    return good[:-1]
                case "flat":
                    return good[:, 0]
                case "double":
                    return good.astype(np.float64)
            return None

        return embed


@dataclass(frozen=True, kw_only=True)
class Hanging(Runtime):
    """Never returns. Holds a lock on the file ``lock`` as long as it, or the process it started, lives."""

    formats: ClassVar[frozenset[str]] = frozenset()
    evidence: ClassVar[Evidence] = "not-run"
    package: ClassVar[str] = "numpy"

    lock: str
    in_native_code: bool

    def open(self, path: Path, threads: int) -> Embedder:
        file = os.open(self.lock, os.O_RDONLY)
        if self.in_native_code:
            subprocess.Popen(["sleep", "600"], pass_fds=[file])
        fcntl.flock(file, fcntl.LOCK_EX)  # which the process started above holds as well
        if self.in_native_code:
            ctypes.PyDLL(None).sleep(600)  # PyDLL keeps Python's global lock, so no thread of ours can run
        time.sleep(600)
        raise AssertionError


@dataclass(frozen=True, kw_only=True)
class Recording(Runtime):
    """Gives (its number of images, the sum of all values, OMP_NUM_THREADS, ``threads``), and notes each call."""

    formats: ClassVar[frozenset[str]] = frozenset()
    evidence: ClassVar[Evidence] = "not-run"
    package: ClassVar[str] = "numpy"

    def version(self) -> str:
        return "recording 1"

    def open(self, path: Path, threads: int) -> Embedder:
        calls: list[str] = []

        def embed(images: np.ndarray) -> np.ndarray:
            calls.append(f"{len(images)}:{int(images.sum())}")
            row = [len(images), images.sum(), int(os.environ["OMP_NUM_THREADS"]), threads]
            return np.tile(np.array(row, np.float32), (len(images), 1))

        embed.calls = calls  # type: ignore[attr-defined]
        return embed

    def notes(self, embed: Embedder) -> tuple[str, ...]:
        return tuple(embed.calls)  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Trespassing(Runtime):
    """Does what no artifact has a reason to do, and gives 0 for each thing that it was refused, else 1."""

    formats: ClassVar[frozenset[str]] = frozenset()
    evidence: ClassVar[Evidence] = "not-run"
    package: ClassVar[str] = "numpy"

    folder: str
    port: int

    def version(self) -> str:
        return "trespassing 1"

    def open(self, path: Path, threads: int) -> Embedder:
        outside = Path(self.folder)
        deeds: dict[str, Callable[[], object]] = {
            "connect": lambda: socket.create_connection(("127.0.0.1", self.port), timeout=5),
            "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", self.port)),
            "unix socket": lambda: socket.socket(socket.AF_UNIX),
            "unix connect": lambda: socket.socket(socket.AF_UNIX).connect(str(outside / "service")),
            "unix datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
            "socket pair": socket.socketpair,
            "create": lambda: (outside / "new").write_text("x"),
            "change": lambda: (outside / "kept").write_text("x"),
            "empty": lambda: os.truncate(outside / "kept", 0),
            "remove": lambda: (outside / "doomed").unlink(),
            "rename": lambda: (outside / "kept").rename(outside / "moved"),
            "link": lambda: (outside / "link").symlink_to("kept"),
            "own folder": tempfile.mkdtemp,
        }
        assert tuple(deeds) == DEEDS
        done = [_succeeds(deed) for deed in deeds.values()]
        return lambda images: np.tile(np.array(done, np.float32), (len(images), 1))


@dataclass(frozen=True, kw_only=True)
class TrespassingBrowser(Trespassing):
    """As ``Trespassing``, in the confinement of a runtime that starts processes and talks with them."""

    own_sockets: ClassVar[bool] = True


def _succeeds(deed: Callable[[], object]) -> bool:
    try:
        deed()
    except PermissionError:
        return False
    return True
