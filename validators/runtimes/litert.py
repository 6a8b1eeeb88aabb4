"""TFLite files on LiteRT (ai-edge-litert), the runtime of current Android and iOS apps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from compress.contracts import Embedder
from validators.runtimes._arm import ArmRuntime
from validators.runtimes._installed import missing, version_of
from validators.runtimes._tflite import open_tflite


@dataclass(frozen=True, kw_only=True)
class LiteRT(ArmRuntime):
    """Opens files in LiteRT's interpreter.

    Attributes:
        xnnpack: false runs TFLite's own kernels instead of XNNPACK's.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"tflite"})
    package: ClassVar[str] = "ai-edge-litert"

    xnnpack: bool = True

    @classmethod
    def variants(cls) -> tuple[Self, ...]:
        here = cls(), cls(xnnpack=False)
        return *here, *(each.with_arm() for each in here)

    def title(self) -> str:
        return super().title() if self.xnnpack else f"{super().title()}-without-xnnpack"

    def unavailable(self) -> str | None:
        return self.not_emulated() if self.emulated else missing("ai_edge_litert", "compress-retrieval[verify]")

    def version(self) -> str:
        return self.emulated_version() if self.emulated else version_of("ai-edge-litert")

    def open(self, path: Path, threads: int) -> Embedder:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        own_kernels = None if self.xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return open_tflite(Interpreter, path, threads, own_kernels)
