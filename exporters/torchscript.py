"""TorchScript (.pt), the OMCBIR paper's own format; runs on PyTorch and the legacy PyTorch Mobile full runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from compress.contracts import DeployGraph, Exporter


@dataclass(frozen=True, kw_only=True)
class TorchScript(Exporter):
    """Input ``image`` uint8 [N, 3, H, W], output float32 [N, D]; N is free.

    Attributes:
        precision: ``w8`` stores int8 weights, which are multiplied out to float32 each time the network runs.
    """

    format: ClassVar[str] = "torchscript"
    suffix: ClassVar[str] = ".pt"
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extras: ClassVar[tuple[str, ...]] = ("train",)

    precision: Literal["fp32", "w8"] = "fp32"

    def write(self, graph: DeployGraph, path: Path) -> None:
        import io

        import torch

        from exporters._deploy import optimized
        from exporters._torchscript import extra_files, frozen_trace, write_archive
        from exporters._torchscript_w8 import with_int8_weights

        graph = optimized(graph, self)
        if self.precision == "w8":
            graph = with_int8_weights(graph)
        buffer = io.BytesIO()
        torch.jit.save(frozen_trace(graph), buffer, _extra_files=extra_files(graph))
        write_archive(buffer.getvalue(), self.precision, path)

    def details(self, path: Path) -> dict[str, Any]:
        from exporters._stored import summary
        from exporters._torchscript_w8 import stored

        return {"stored": summary(stored(path))}
