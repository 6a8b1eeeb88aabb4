"""ExecuTorch (.coreml.pte) with the Core ML delegate, for iOS apps that load .pte files and want the Neural Engine."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compress.contracts import DeployGraph
from exporters._costs import COREML
from exporters._file_exporter import FileExporter, Inspected
from exporters._stored import Kind


@dataclass(frozen=True, kw_only=True)
class ExecuTorchCoreML(FileExporter):
    """Exports the methods ``forward`` and ``metadata`` of format ``executorch``; Core ML computes all but one cast.

    Converts on Linux and macOS, in the environment of executorch. Only Apple's devices execute the file; elsewhere its
    Core ML program is executed operation by operation.

    Attributes:
        precision: the type in which weights are stored and Core ML computes; the Neural Engine computes ``fp16`` alone.
    """

    format: ClassVar[str] = "executorch-coreml"
    suffix: ClassVar[str] = ".coreml.pte"
    requires: ClassVar[tuple[str, ...]] = ("torch", "coremltools")
    extras: ClassVar[tuple[str, ...]] = ("train", "coreml")
    runtime_costs = COREML
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
        "fp16": Kind("float16", "float16", "float16"),
    }

    precision: Literal["fp32", "fp16"] = "fp32"

    def unavailable(self) -> str | None:
        from validators.executorch_environment import EXECUTORCH_PYTHON  # validators load NumPy

        return EXECUTORCH_PYTHON.unavailable()

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        from exporters._executorch import write_lowered

        write_lowered(graph, path, graph.metadata, integers=False, coreml=self.precision)
        return ()

    def inspect(self, path: Path) -> Inspected:
        from validators.mlprogram.light_import import load_coremltools
        from validators.pte_coreml import unpack_package

        load_coremltools()
        from exporters._coreml_stored import stored

        with tempfile.TemporaryDirectory() as folder:
            return Inspected(stored(unpack_package(path.read_bytes(), Path(folder))))
