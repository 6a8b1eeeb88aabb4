"""Core AI (.aimodel), Apple's successor to Core ML from iOS and macOS 27 on; a beta."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from compress.contracts import DeployGraph
from exporters._costs import COREML
from exporters._file_exporter import FileExporter, Inspected
from exporters._stored import Kind, Weighted

_TIMEOUT_S = 1800


@dataclass(frozen=True, kw_only=True)
class CoreAI(FileExporter):
    """Exports one function ``main``: input ``image`` uint8 [1, 3, H, W], output ``embedding`` float32 [1, D].

    The folder is written by coreai-torch in an environment of its own, which the environment variable
    COMPRESS_COREAI_PYTHON names; ``make coreai`` makes it. Core ML stays the format for today's iOS.

    Attributes:
        precision: ``fp16`` stores and computes half precision.
    """

    format: ClassVar[str] = "coreai"
    suffix: ClassVar[str] = ".aimodel"
    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extras: ClassVar[tuple[str, ...]] = ("train",)
    runtime_costs = COREML
    stored: ClassVar[Mapping[str, Kind]] = {
        "fp32": Kind("float32", "float32", "float32"),
        "fp16": Kind("float16", "float16", "float16"),
    }

    precision: Literal["fp32", "fp16"] = "fp32"

    def unavailable(self) -> str | None:
        from validators.coreai_environment import COREAI_PYTHON  # validators load NumPy

        return COREAI_PYTHON.unavailable()

    def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
        import torch

        from compress.system.child import ChildFailed, child
        from exporters._coreai_convert import CONVERTED, DESCRIPTION, PROGRAM, convert
        from exporters._half_precision import in_half_precision

        module = in_half_precision(graph.module) if self.precision == "fp16" else graph.module
        program = torch.export.export(module, (torch.zeros(1, 3, *graph.input_size, dtype=torch.uint8),))
        try:
            with child(convert, {}, interpreter=_interpreter()) as started:
                torch.export.save(program, started.scratch / PROGRAM)
                (started.scratch / DESCRIPTION).write_text(json.dumps(graph.metadata), encoding="utf-8")
                started.result(_TIMEOUT_S)
                shutil.copytree(started.scratch / CONVERTED, path, copy_function=shutil.copyfile)
        except ChildFailed as failed:
            raise failed.error(f"{path.name}: the Core AI converter") from failed
        return ()

    def inspect(self, path: Path) -> Inspected:
        from compress.system.child import ChildFailed, call
        from exporters._coreai_convert import stored_types

        try:
            job = {"path": str(path.absolute())}
            found = call(stored_types, job, interpreter=_interpreter(), timeout_s=_TIMEOUT_S)
        except ChildFailed as failed:
            raise failed.error(f"{path.name}: reading its types") from failed
        return Inspected([Weighted(name, count, Kind(own, own, taken)) for name, count, own, taken in found])


def _interpreter() -> str:
    from validators.coreai_environment import COREAI_PYTHON

    found = COREAI_PYTHON.interpreter()
    assert found is not None  # require_converter has tried it out
    return found
