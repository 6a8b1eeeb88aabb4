"""TorchScript (.pt), the OMCBIR paper's own format; runs on PyTorch and the legacy PyTorch Mobile full runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from exporters._traced import Traced

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class TorchScript(Traced):
    """Exports with input ``image`` uint8 [N, 3, H, W] and output float32 [N, D], for any N."""

    format: ClassVar[str] = "torchscript"
    suffix: ClassVar[str] = ".pt"

    def saved(self, frozen: torch.jit.ScriptModule, extra_files: Mapping[str, str]) -> bytes:
        import io

        import torch

        buffer = io.BytesIO()
        torch.jit.save(frozen, buffer, _extra_files=dict(extra_files))
        return buffer.getvalue()
