"""The Core ML program of .coreml.pte files executed op by op in PyTorch on any system; not Apple's kernels."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from validators.pte_coreml import unpack_package
from validators.runtimes.coreml_reference import CoreMLReference

if TYPE_CHECKING:
    from validators.mlprogram.program import Program


@dataclass(frozen=True, kw_only=True)
class ExecuTorchCoreMLReference(CoreMLReference):
    """Takes the program out of the file and executes it as ``coreml_reference`` does; the pixels are cast before."""

    formats: ClassVar[frozenset[str]] = frozenset({"executorch-coreml"})

    def program(self, path: Path) -> Program:
        from validators.mlprogram.program import load

        with tempfile.TemporaryDirectory() as folder:
            return load(unpack_package(path.read_bytes(), Path(folder)), pixels="array")
