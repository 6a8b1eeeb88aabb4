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

_TIMEOUT_S = 1800


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
        import numpy as np
        import torch

        from compress.system.child import ChildFailed, child
        from exporters._executorch_lower import CALIBRATION, LOWERED, PROGRAM, lower
        from validators.executorch_environment import EXECUTORCH_PYTHON

        metadata = dict(graph.metadata)
        if graph.learned:  # executorch's quantizer takes no ranges from elsewhere
            metadata["quantization"] = {"learned_ranges": {"used": 0, "unused": [each.name for each in graph.learned]}}
        job = {"metadata": json.dumps(metadata, sort_keys=True), "integers": self.precision == "w8a8"}
        interpreter = EXECUTORCH_PYTHON.interpreter()
        assert interpreter is not None  # require_converter has tried it out
        program = torch.export.export(graph.module, (torch.zeros(1, 3, *graph.input_size, dtype=torch.uint8),))
        try:
            with child(lower, job, interpreter=interpreter) as started:
                torch.export.save(program, started.scratch / PROGRAM)
                if self.precision == "w8a8":
                    assert graph.calibration is not None
                    images = np.ascontiguousarray(graph.calibration.transpose(0, 3, 1, 2))
                    np.save(started.scratch / CALIBRATION, images)
                started.result(_TIMEOUT_S)
                path.write_bytes((started.scratch / LOWERED).read_bytes())
        except ChildFailed as failed:
            raise failed.error(f"{path.name}: the ExecuTorch converter") from failed
        return ()

    def inspect(self, path: Path) -> Inspected:
        from exporters._executorch_lower import METADATA
        from exporters._executorch_stored import stored
        from validators.pte_file import returned_text

        content = path.read_bytes()
        metadata = json.loads(returned_text(content, METADATA))
        return Inspected(stored(content), {key: metadata[key] for key in ("quantization",) if key in metadata})
