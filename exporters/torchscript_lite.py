"""TorchScript for the lite interpreter (.ptl): PyTorch Mobile on Android and iOS, frozen at 2.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from exporters._traced import Traced

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class TorchScriptLite(Traced):
    """Exports with input ``image`` uint8 [N, 3, H, W] and output float32 [N, D], for any N."""

    format: ClassVar[str] = "torchscript-lite"
    suffix: ClassVar[str] = ".ptl"

    def saved(self, frozen: torch.jit.ScriptModule, extra_files: Mapping[str, str]) -> bytes:
        archive: bytes = frozen._save_to_buffer_for_lite_interpreter(_extra_files=dict(extra_files))
        return archive
