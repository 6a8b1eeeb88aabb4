"""A runtime whose process dies with the first image of all, as one that the system ends for lack of memory does."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from compress.contracts import Embedder, Evidence, Runtime

TOKENS = 12


def started(tokens: Path) -> int:
    """How many processes have removed a folder."""
    return TOKENS - len(list(tokens.iterdir()))


@dataclass(frozen=True, kw_only=True)
class Dying(Runtime):
    """Removes one of the empty folders in ``tokens`` for every process, and dies ``times`` times.

    Its child process may write nowhere else, but may remove empty folders.
    """

    formats: ClassVar[frozenset[str]] = frozenset()
    evidence: ClassVar[Evidence] = "not-run"
    package: ClassVar[str] = "numpy"

    tokens: str
    times: int

    def version(self) -> str:
        return "dying 1"

    def open(self, path: Path, threads: int) -> Embedder:
        next(Path(self.tokens).iterdir()).rmdir()

        def embed(images: np.ndarray) -> np.ndarray:
            if started(Path(self.tokens)) <= self.times:
                os.kill(os.getpid(), signal.SIGKILL)
            return np.ones((len(images), 2), np.float32)

        return embed
