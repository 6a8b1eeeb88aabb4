"""PyTorch Mobile files (.ptl) on the lite interpreter, the bytecode engine of the Android and iOS libraries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from compress.contracts import Embedder, Runtime
from validators.runtimes._batches import channels_first, in_batches
from validators.runtimes._installed import missing, version_of


@dataclass(frozen=True, kw_only=True)
class TorchScriptLite(Runtime):
    formats: ClassVar[frozenset[str]] = frozenset({"torchscript-lite"})
    package: ClassVar[str] = "torch"
    imports: ClassVar[tuple[str, ...]] = ("torch",)

    def unavailable(self) -> str | None:
        return missing("torch", "compress-retrieval[train]")

    def version(self) -> str:
        return version_of("torch")

    def open(self, path: Path, threads: int) -> Embedder:
        import torch
        from torch.jit.mobile import _load_for_lite_interpreter

        torch.set_num_threads(threads)
        if torch.get_num_interop_threads() > 1:  # torch allows setting it only once
            torch.set_num_interop_threads(1)
        module = _load_for_lite_interpreter(str(path), map_location="cpu")

        def embed(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                found: np.ndarray = module(torch.from_numpy(channels_first(images))).numpy()
            return found

        return in_batches(embed)
