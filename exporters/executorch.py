"""ExecuTorch (.pte) with the XNNPACK delegate, PyTorch's own runtime for phones and the successor of PyTorch Mobile."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compress.contracts import DeployGraph
from exporters._costs import EXECUTORCH
from exporters._file_exporter import FileExporter, Inspected
from exporters._stored import Kind
from validators.executorch_environment import EXECUTORCH_PYTHON

_TIMEOUT_S = 1800


@dataclass(frozen=True, kw_only=True)
class ExecuTorch(FileExporter):
    """Exports one method ``forward``: input uint8 [1, 3, H, W], output float32 [1, D].

    A second method, ``metadata``, returns the metadata as text. The file is written by executorch's converter in an
    environment of its own, which the environment variable COMPRESS_EXECUTORCH_PYTHON names; ``make executorch`` makes
    it.

    Attributes:
        precision: ``fp32`` stores and computes float32.
    """

    format: ClassVar[str] = "executorch"
    suffix: ClassVar[str] = ".pte"
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extras: ClassVar[tuple[str, ...]] = ("train",)
    runtime_costs = EXECUTORCH
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
    }

    precision: Literal["fp32"] = "fp32"

    def unavailable(self) -> str | None:
        return EXECUTORCH_PYTHON.unavailable()

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        import torch

        from compress.system.child import ChildFailed, child
        from exporters._executorch_lower import LOWERED, PROGRAM, lower

        job = {"metadata": json.dumps(graph.metadata, sort_keys=True)}
        interpreter = EXECUTORCH_PYTHON.interpreter()
        assert interpreter is not None  # require_converter has tried it out
        program = torch.export.export(graph.module, (torch.zeros(1, 3, *graph.input_size, dtype=torch.uint8),))
        try:
            with child(lower, job, interpreter=interpreter) as started:
                torch.export.save(program, started.scratch / PROGRAM)
                started.result(_TIMEOUT_S)
                path.write_bytes((started.scratch / LOWERED).read_bytes())
        except ChildFailed as failed:
            raise failed.error(f"{path.name}: the ExecuTorch converter") from failed
        return ()

    def inspect(self, path: Path) -> Inspected:
        from exporters._executorch_stored import stored

        return Inspected(stored(path.read_bytes()))
