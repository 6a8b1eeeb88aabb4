"""Core ML packages (.mlpackage) executed op by op in PyTorch on any system; not Apple's kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from compress.contracts import Embedder, Evidence, Runtime
from validators.runtimes._installed import missing, version_of

if TYPE_CHECKING:
    from validators.mlprogram.program import Program


@dataclass(frozen=True, kw_only=True)
class CoreMLReference(Runtime):
    """Executes the graph, weights and declared rounding as stored; its speed says nothing about any device."""

    formats: ClassVar[frozenset[str]] = frozenset({"coreml"})
    package: ClassVar[str] = "coremltools"
    imports: ClassVar[tuple[str, ...]] = (
        "torch",
        "validators.mlprogram.light_import:load_coremltools",
        "validators.mlprogram.execute",
        "validators.mlprogram.program",
    )

    def evidence(self) -> Evidence:
        return "reference"

    def unavailable(self) -> str | None:
        return missing("torch", "compress-retrieval[train]") or missing("coremltools", "compress-retrieval[coreml]")

    def version(self) -> str:
        return f"{version_of('coremltools')}, {version_of('torch')}"

    def open(self, path: Path, threads: int) -> Embedder:
        import torch

        from validators.mlprogram.execute import Executor

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        return Executor(self.program(path))

    def program(self, path: Path) -> Program:
        """Read the program of a file."""
        from validators.mlprogram.program import load

        return load(path)

    def notes(self, embed: Embedder) -> tuple[str, ...]:
        from validators.mlprogram.execute import Executor

        assert isinstance(embed, Executor)
        return embed.notes()
