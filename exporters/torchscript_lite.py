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
    """Input ``image`` uint8 [N, 3, H, W], output float32 [N, D]; N is free."""

    format: ClassVar[str] = "torchscript-lite"
    suffix: ClassVar[str] = ".ptl"

    def saved(self, frozen: torch.jit.ScriptModule, extra_files: Mapping[str, str]) -> bytes:
        archive: bytes = frozen._save_to_buffer_for_lite_interpreter(_extra_files=dict(extra_files))
        return archive
