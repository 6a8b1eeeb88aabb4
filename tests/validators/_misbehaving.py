"""Runtimes that do what real ones do on bad days. They ignore the artifact's content."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from compress.contracts import Embedder, Evidence, Runtime

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
        file = os.open(self.lock, os.O_RDWR)
        fcntl.flock(file, fcntl.LOCK_EX)
        if self.in_native_code:
            subprocess.Popen(["sleep", "600"], pass_fds=[file])
        os.write(file, b"locked")
        if self.in_native_code:
            ctypes.PyDLL(None).sleep(600)  # PyDLL keeps Python's global lock, so no thread of ours can run
        time.sleep(600)
        raise AssertionError


@dataclass(frozen=True, kw_only=True)
class Recording(Runtime):
    """Gives (its number of images, the sum of all values, OMP_NUM_THREADS, ``threads``), and logs each call."""

    formats: ClassVar[frozenset[str]] = frozenset()
    evidence: ClassVar[Evidence] = "not-run"
    package: ClassVar[str] = "numpy"

    log: str

    def version(self) -> str:
        return "recording 1"

    def open(self, path: Path, threads: int) -> Embedder:
        def embed(images: np.ndarray) -> np.ndarray:
            with Path(self.log).open("a") as log:
                log.write(f"{len(images)}:{int(images.sum())}\n")
            row = [len(images), images.sum(), int(os.environ["OMP_NUM_THREADS"]), threads]
            return np.tile(np.array(row, np.float32), (len(images), 1))

        return embed
