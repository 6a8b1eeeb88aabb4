"""TFLite files on the interpreter inside TensorFlow (tf.lite), which TensorFlow has deprecated in favour of LiteRT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from compress.contracts import Embedder, Evidence, Runtime
from validators.runtimes._installed import missing, version_of
from validators.runtimes._tflite import open_tflite


@dataclass(frozen=True, kw_only=True)
class TensorFlowLite(Runtime):
    formats: ClassVar[frozenset[str]] = frozenset({"tflite"})
    package: ClassVar[str] = "tensorflow"

    def evidence(self) -> Evidence:
        return "older-runtime"

    def unavailable(self) -> str | None:
        return missing("tensorflow", "tensorflow")

    def version(self) -> str:
        return version_of("tensorflow", "tensorflow-cpu", "tensorflow-macos")

    def open(self, path: Path, threads: int) -> Embedder:
        import tensorflow

        return open_tflite(tensorflow.lite.Interpreter, path, threads)
