"""TorchScript (.pt), the OMCBIR paper's own format; runs on PyTorch and the legacy PyTorch Mobile full runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compress.contracts import DeployGraph, Exporter


@dataclass(frozen=True, kw_only=True)
class TorchScript(Exporter):
    """Input ``image`` uint8 [N, 3, H, W], output float32 [N, D]; N is free."""

    format: ClassVar[str] = "torchscript"
    suffix: ClassVar[str] = ".pt"
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extras: ClassVar[tuple[str, ...]] = ("train",)

    precision: Literal["fp32"] = "fp32"

    def write(self, graph: DeployGraph, path: Path) -> None:
        import io

        import torch

        from exporters._deploy import optimized
        from exporters._torchscript import extra_files, frozen_trace, write_archive
        from exporters.rewrites._costs import TORCH

        graph = optimized(graph, TORCH, self)
        buffer = io.BytesIO()
        torch.jit.save(frozen_trace(graph), buffer, _extra_files=extra_files(graph))
        write_archive(buffer.getvalue(), path)
