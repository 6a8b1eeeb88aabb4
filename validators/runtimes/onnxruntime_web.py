"""ONNX files in a web page, on ONNX Runtime's WebAssembly kernels (onnxruntime-web)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from validators.runtimes._browser import BrowserRuntime


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeWeb(BrowserRuntime):
    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})
    package: ClassVar[str] = "onnxruntime-web"
    format: ClassVar[Literal["onnx", "tflite"]] = "onnx"
    wasm: ClassVar[str] = "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"
    threaded_wasm: ClassVar[str] = wasm
