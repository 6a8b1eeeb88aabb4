"""ExecuTorch (.pte) with the XNNPACK delegate, PyTorch's own runtime for phones and the successor of PyTorch Mobile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compress.contracts import DeployGraph
from exporters._costs import EXECUTORCH
from exporters._file_exporter import FileExporter, Inspected
from exporters._stored import Kind


@dataclass(frozen=True, kw_only=True)
class ExecuTorch(FileExporter):
    """Exports one method ``forward``: input uint8 [1, 3, H, W], output float32 [1, D].

    A second method, ``metadata``, returns the metadata as text. The file is written by executorch's converter in an
    environment of its own, which the environment variable COMPRESS_EXECUTORCH_PYTHON names; ``make executorch`` makes
    it.

    Attributes:
        precision: ``w8a8`` stores int8 weights and computes with int8 activations, whose ranges come from calibration
            images, also after the stage ``qat``.
    """

    format: ClassVar[str] = "executorch"
    suffix: ClassVar[str] = ".pte"
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extras: ClassVar[tuple[str, ...]] = ("train",)
    runtime_costs = EXECUTORCH
    calibrated: ClassVar[frozenset[str]] = frozenset({"w8a8"})
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
        "w8a8": Kind("int8", "int8", "int8"),
    }

    precision: Literal["fp32", "w8a8"] = "fp32"

    def unavailable(self) -> str | None:
        from validators.executorch_environment import EXECUTORCH_PYTHON  # validators load NumPy

        return EXECUTORCH_PYTHON.unavailable()

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        from exporters._executorch import write_lowered

        metadata = dict(graph.metadata)
        if graph.learned:  # executorch's quantizer takes no ranges from elsewhere
            metadata["quantization"] = {"learned_ranges": {"used": 0, "unused": [each.name for each in graph.learned]}}
        write_lowered(graph, path, metadata, integers=self.precision == "w8a8", coreml=None)
        return ()

    def inspect(self, path: Path) -> Inspected:
        from exporters._executorch import described
        from exporters._executorch_stored import stored

        content = path.read_bytes()
        metadata = described(content)
        return Inspected(stored(content), {key: metadata[key] for key in ("quantization",) if key in metadata})
