"""Core AI packages (.aimodel) on the runtime of coreai-core, in an environment of its own; a beta."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from compress.contracts import Embedder, Runtime
from validators.coreai_environment import COREAI_PYTHON
from validators.runtimes._batches import channels_first, in_batches


@dataclass(frozen=True, kw_only=True)
class CoreAI(Runtime):
    """Executes the function ``main``: on Linux on the CPU, on macOS 27 and later with the system's Core AI.

    Attributes:
        python: the interpreter of the environment with coreai-core; null takes the environment variable
            COMPRESS_COREAI_PYTHON. Interpreters in the working folder are not tried, because they may be part of an
            untrusted bundle.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"coreai"})
    package: ClassVar[str] = "coreai-core"
    own_sockets: ClassVar[bool] = True  # its functions are asynchronous, and asyncio wakes itself by a pair of sockets

    python: str | None = None

    def interpreter(self) -> str:
        return COREAI_PYTHON.interpreter(self.python) or sys.executable

    def unavailable(self) -> str | None:
        return COREAI_PYTHON.unavailable(self.python)

    def version(self) -> str:
        return COREAI_PYTHON.version(self.python)

    def open(self, path: Path, threads: int) -> Embedder:
        import asyncio

        from coreai.authoring.asset import AIModelAsset
        from coreai.runtime import NDArray

        loop = asyncio.new_event_loop()
        loaded = AIModelAsset.load(path).executable()
        function = loop.run_until_complete(loaded.__aenter__()).load_function("main")
        inputs, outputs = list(function.desc.input_names), list(function.desc.output_names)
        if inputs != ["image"] or outputs != ["embedding"]:
            raise ValueError(f"expected the input image and the output embedding, found {inputs} and {outputs}")

        def embed(images: np.ndarray) -> np.ndarray:
            assert loaded is not None  # kept as long as the function: it holds the compiled package
            found = loop.run_until_complete(function({"image": NDArray(channels_first(images))}))
            return np.array(found["embedding"].numpy())

        return in_batches(embed, 1)
