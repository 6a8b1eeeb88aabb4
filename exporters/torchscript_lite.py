"""TorchScript for the lite interpreter (.ptl): PyTorch Mobile on Android and iOS, frozen at 2.1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compress.contracts import DeployGraph, Exporter


@dataclass(frozen=True, kw_only=True)
class TorchScriptLite(Exporter):
    """Input ``image`` uint8 [N, 3, H, W], output float32 [N, D]; N is free."""

    format: ClassVar[str] = "torchscript-lite"
    suffix: ClassVar[str] = ".ptl"
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extras: ClassVar[tuple[str, ...]] = ("train",)

    precision: Literal["fp32"] = "fp32"

    def write(self, graph: DeployGraph, path: Path) -> None:
        from exporters._deploy import optimized
        from exporters._torchscript import extra_files, frozen_trace, write_archive
        from exporters.rewrites._costs import TORCH

        graph = optimized(graph, TORCH, self)
        saved = frozen_trace(graph)._save_to_buffer_for_lite_interpreter(_extra_files=extra_files(graph))
        write_archive(saved, path)
