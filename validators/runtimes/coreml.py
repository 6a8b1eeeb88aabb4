"""Core ML packages (.mlpackage) on Apple's Core ML; macOS only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from compress.contracts import Embedder, Runtime
from validators.runtimes._batches import in_batches
from validators.runtimes._installed import missing, version_of


@dataclass(frozen=True, kw_only=True)
class CoreML(Runtime):
    """Executes packages with Core ML, which chooses its own number of threads.

    Attributes:
        compute_units: the processors Core ML may use; ``cpu_and_ne`` is CPU and Neural Engine.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"coreml"})
    package: ClassVar[str] = "coremltools"

    compute_units: Literal["all", "cpu_only", "cpu_and_gpu", "cpu_and_ne"] = "all"

    def unavailable(self) -> str | None:
        if sys.platform != "darwin":
            return "Core ML executes only on macOS; verify this bundle on a Mac to run its .mlpackage files natively"
        return missing("coremltools", "compress-retrieval[verify]")

    def version(self) -> str:
        return version_of("coremltools")

    def open(self, path: Path, threads: int) -> Embedder:
        import coremltools
        from PIL import Image

        model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit[self.compute_units.upper()])
        description = model.get_spec().description
        (source,), (target,) = description.input, description.output

        def embed(images: np.ndarray) -> np.ndarray:
            found = model.predict({source.name: Image.fromarray(images[0])})[target.name]
            return np.asarray(found).reshape(1, -1)

        return in_batches(embed, 1)
