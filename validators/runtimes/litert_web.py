"""TFLite files in a web page, on LiteRT's WebAssembly kernels (@litertjs/core)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from validators.runtimes._browser import BrowserRuntime


@dataclass(frozen=True, kw_only=True)
class LiteRTWeb(BrowserRuntime):
    formats: ClassVar[frozenset[str]] = frozenset({"tflite"})
    package: ClassVar[str] = "@litertjs/core"
    format: ClassVar[Literal["onnx", "tflite"]] = "tflite"
    wasm: ClassVar[str] = "@litertjs/core/wasm/litert_wasm_internal.wasm"
    threaded_wasm: ClassVar[str] = "@litertjs/core/wasm/litert_wasm_threaded_internal.wasm"
