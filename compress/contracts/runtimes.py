"""Programs that execute artifacts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from compress.contracts.components import Component

if TYPE_CHECKING:
    import numpy as np

Evidence = Literal["native", "older-runtime", "reference", "not-run"]
"""What a run proves, the strongest first."""
# Takes images uint8 [N, H, W, 3], gives embeddings float32 [N, D].
Embedder = Callable[["np.ndarray"], "np.ndarray"]


@dataclass(frozen=True)
class OperatorTime:
    """All uses of one operator: how many there are in one run, and the milliseconds of a run they take together."""

    operator: str
    uses: int
    milliseconds: float


@dataclass(frozen=True, kw_only=True)
class Runtime(Component):
    """A program that executes artifacts of some formats. Loads in a child process, possibly without torch.

    Class attributes:
        profiles: its library can say where the time goes, operator by operator.
    """

    formats: ClassVar[frozenset[str]]
    evidence: ClassVar[Evidence]
    package: ClassVar[str]
    profiles: ClassVar[bool] = False

    def unavailable(self) -> str | None:
        """Why this runtime cannot run here, in words with the remedy; None when it can."""
        raise NotImplementedError

    def title(self) -> str:
        """The name its results have in bundle.json: another where an option changes what executes."""
        return self.component_name()

    def version(self) -> str:
        """The version of the library that will execute, e.g. ``onnxruntime 1.31.1``."""
        raise NotImplementedError

    def interpreter(self) -> str:
        """The Python that runs the child process: this one, unless the library lives in another environment."""
        return sys.executable

    def open(self, path: Path, threads: int) -> Embedder:
        """Load the artifact. Called in the child process only."""
        raise NotImplementedError

    def profile(self, path: Path, image: np.ndarray, threads: int, runs: int) -> list[OperatorTime]:
        """Where the time goes, for uint8 [1, H, W, 3]; where ``profiles``. Called in a child process only."""
        raise NotImplementedError

    def notes(self, embed: Embedder) -> tuple[str, ...]:
        """What this runtime noticed while ``embed``, which ``open`` gave, ran: one line each, nothing by default."""
        return ()
