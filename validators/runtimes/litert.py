"""TFLite files on LiteRT (ai-edge-litert), the runtime of current Android and iOS apps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from compress.contracts import Embedder, Runtime
from validators.runtimes._installed import missing, version_of
from validators.runtimes._tflite import open_tflite


@dataclass(frozen=True, kw_only=True)
class LiteRT(Runtime):
    """Opens files in LiteRT's interpreter.

    Attributes:
        xnnpack: false runs TFLite's own kernels instead of XNNPACK's.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"tflite"})
    package: ClassVar[str] = "ai-edge-litert"

    xnnpack: bool = True

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        return cls(), cls(xnnpack=False)

    def title(self) -> str:
        return self.component_name() if self.xnnpack else f"{self.component_name()}-without-xnnpack"

    def unavailable(self) -> str | None:
        return missing("ai_edge_litert", "compress-retrieval[verify]")

    def version(self) -> str:
        return version_of("ai-edge-litert")

    def open(self, path: Path, threads: int) -> Embedder:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        own_kernels = None if self.xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return open_tflite(Interpreter, path, threads, own_kernels)
