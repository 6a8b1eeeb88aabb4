"""The common part of the formats TorchScript (.pt) and TorchScript for the lite interpreter (.ptl)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from compress.contracts import DeployGraph
from exporters._costs import TORCH
from exporters._file_exporter import Inspected
from exporters._float_weights import FloatWeights
from exporters._stored import Kind

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Traced(FloatWeights):
    """Exports a frozen trace, which each format saves in its own way.

    Attributes:
        precision: ``w8`` stores int8 weights, which are converted to float32 each time the network runs.
    """

    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extras: ClassVar[tuple[str, ...]] = ("train",)
    runtime_costs = TORCH
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
        "w8": Kind("int8", "float32", "float32"),
    }

    precision: Literal["fp32", "w8"] = "fp32"

    def saved(self, frozen: torch.jit.ScriptModule, extra_files: Mapping[str, str]) -> bytes:
        """Save the archive in the format's way; ``convert`` then makes its bytes depend on the model alone."""
        raise NotImplementedError

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        from exporters._torchscript import extra_files, frozen_trace, reproducible
        from exporters._torchscript_w8 import float_weights, with_int8_weights

        layers = self.float_layers(graph)
        if self.precision == "w8":
            graph = with_int8_weights(graph, layers)
        path.write_bytes(reproducible(self.saved(frozen_trace(graph), extra_files(graph))))
        return float_weights(path, layers)

    def inspect(self, path: Path) -> Inspected:
        from exporters._torchscript_w8 import stored

        return Inspected(stored(path), self.quantization(path))
