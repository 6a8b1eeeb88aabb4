"""ExecuTorch files for Core ML (.coreml.pte) on ExecuTorch's own runtime; macOS only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

from compress.contracts import Acceleration, Embedder
from validators.runtimes.executorch import ExecuTorch


@dataclass(frozen=True, kw_only=True)
class ExecuTorchCoreML(ExecuTorch):
    """Executes the method ``forward`` with ExecuTorch's Core ML delegate, which its packages for macOS hold."""

    formats: ClassVar[frozenset[str]] = frozenset({"executorch-coreml"})
    profiles: ClassVar[bool] = False

    def unavailable(self) -> str | None:
        if sys.platform != "darwin":
            return (
                "ExecuTorch's Core ML delegate executes only on macOS and iOS; verify this bundle on a Mac, or import "
                "an iPhone's results"
            )
        return super().unavailable()

    def acceleration(self, embed: Embedder) -> Acceleration | None:
        return None  # Core ML chooses its processors itself, and ExecuTorch does not say which
