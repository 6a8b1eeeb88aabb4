"""ONNX's reference evaluator: slow, in NumPy alone, for networks whose other runtimes are doubted."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

import numpy as np

from compress.contracts import Embedder, Evidence, Runtime


@dataclass(frozen=True, kw_only=True)
class NumpyOnnx(Runtime):
    """Executes ``.onnx`` files with onnx.reference.ReferenceEvaluator."""

    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})
    package: ClassVar[str] = "onnx"

    def unavailable(self) -> str | None:
        try:
            version("onnx")
        except PackageNotFoundError:
            return "onnx is not installed; install it with: pip install onnx"
        return None

    def evidence(self) -> Evidence:
        return "reference"

    def version(self) -> str:
        return f"onnx {version('onnx')}"

    def most_images(self) -> int | None:
        return 30

    def open(self, path: Path, threads: int) -> Embedder:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(str(path))

        def embed(images: np.ndarray) -> np.ndarray:
            (found,) = evaluator.run(None, {"image": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
            return np.asarray(found, np.float32)

        return embed
