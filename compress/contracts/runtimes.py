"""Programs that execute artifacts."""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from compress.contracts.components import Component

if TYPE_CHECKING:
    import numpy as np

Evidence = Literal["device", "native", "older-runtime", "gpu-software", "emulated-arm", "reference", "not-run"]
"""The kinds of evidence, the strongest first."""
TIMED: frozenset[Evidence] = frozenset({"device", "native", "older-runtime"})
"""Evidence whose latency and memory say something about a processor; emulators and reference executors have none."""
Processor = Literal["x86", "arm", "gpu", "npu", "browser"]
"""The kinds of processor that execute artifacts; ``npu`` is a neural processor, ``browser`` is WebAssembly."""


def host_processor() -> Processor:
    """The kind of this machine's CPU."""
    return "arm" if platform.machine().lower() in ("aarch64", "arm64") else "x86"


# Takes images uint8 [N, H, W, 3], gives embeddings float32 [N, D].
Embedder = Callable[["np.ndarray"], "np.ndarray"]


def timed(embed: Embedder, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Embed an image: the embedding, and the milliseconds that the call took."""
    start = time.perf_counter()
    found = embed(image)
    return found, 1000 * (time.perf_counter() - start)


def in_turn(embed: Embedder, images: Sequence[np.ndarray], warmup: int, repeats: int) -> list[float]:
    """Time images one after the other, after ``warmup`` runs that are not measured: milliseconds of each run."""
    for image in islice(cycle(images), warmup):
        embed(image)
    gc.collect()
    gc.disable()
    found = [timed(embed, image)[1] for image in islice(cycle(images), repeats)]
    gc.enable()
    return found


@dataclass(frozen=True)
class OperatorTime:
    """All calls of one operator in one run: their number, and their total time in milliseconds."""

    operator: str
    uses: int
    milliseconds: float


@dataclass(frozen=True)
class Acceleration:
    """Which operations of a file an accelerator, such as a GPU, executes.

    Attributes:
        share: their share of all operations, 0 to 1.
        others: one line for each kind of operation that the CPU executes instead, with the reason.
    """

    share: float
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Runtime(Component):
    """A program that executes artifacts of some formats. It is loaded in a child process, possibly without torch.

    Class attributes:
        profiles: whether its library can measure the time by operator.
        own_sockets: whether it starts processes that it talks with through pairs of sockets, which the child's
            confinement (``compress.system.sandbox``) refuses otherwise.
        imports: the modules that ``open`` imports, or ``module:function`` that imports some. It starts no thread, so
            that a process can be forked afterwards.
    """

    formats: ClassVar[frozenset[str]]
    package: ClassVar[str]
    profiles: ClassVar[bool] = False
    own_sockets: ClassVar[bool] = False
    imports: ClassVar[tuple[str, ...]] = ()

    def unavailable(self) -> str | None:
        """Why this runtime cannot run here, with the remedy; None if it can."""
        raise NotImplementedError

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        """This runtime once for each title that users may name; the first one has the default options."""
        return (cls(),)

    def evidence(self) -> Evidence:
        """The kind of evidence that an execution here gives."""
        return "native"

    def processor(self) -> Processor:
        """The kind of processor that executes."""
        return host_processor()

    def timed(self) -> bool:
        """Whether its latency and memory are worth reporting."""
        return self.evidence() in TIMED

    def most_pixels(self) -> int | None:
        """The pixels of all held-out images that it can execute in about two minutes; None executes every image."""
        return None

    def most_images(self) -> int | None:
        """The same as a number of images of any size; None sets no such limit."""
        return None

    def device_files(self) -> tuple[Path, ...]:
        """Device files that the child process may open for writing."""
        return ()

    def title(self) -> str:
        """The name of its results in bundle.json; it differs if an option changes what is executed."""
        return self.component_name()

    def version(self) -> str:
        """The version of the library that will execute, e.g. ``onnxruntime 1.31.1``."""
        raise NotImplementedError

    def interpreter(self) -> str:
        """The Python that runs the child process: this one, unless the library is in another environment."""
        return sys.executable

    def emulator(self) -> tuple[str, ...]:
        """The command before ``interpreter`` if another processor's is emulated; empty if this processor runs it."""
        return ()

    def open(self, path: Path, threads: int) -> Embedder:
        """Load the artifact. Called in the child process only."""
        raise NotImplementedError

    def timed_embedding(self, embed: Embedder, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Embed uint8 [1, H, W, 3] with what ``open`` returned: float32 [1, D], and the milliseconds that it took."""
        return timed(embed, image)

    def milliseconds(self, embed: Embedder, images: Sequence[np.ndarray], warmup: int, repeats: int) -> list[float]:
        """As ``in_turn``, for images uint8 [1, H, W, 3] and what ``open`` returned."""
        return in_turn(embed, images, warmup, repeats)

    def process(self, embed: Embedder) -> int:
        """The number of the process that executes ``embed``: this one, unless the runtime starts others."""
        return os.getpid()

    def profile(self, path: Path, image: np.ndarray, threads: int, runs: int) -> list[OperatorTime]:
        """Measure the time by operator for uint8 [1, H, W, 3], if ``profiles``. Called in a child process only."""
        raise NotImplementedError

    def notes(self, embed: Embedder) -> tuple[str, ...]:
        """Notes of this runtime on the runs of ``embed``, which ``open`` returned: one line each, none by default."""
        return ()

    def acceleration(self, embed: Embedder) -> Acceleration | None:
        """Which operations the accelerator executes in ``embed``, which ``open`` returned; None if there is none."""
        return None
