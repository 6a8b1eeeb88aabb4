"""TorchScript files (.pt) on PyTorch's own TorchScript interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from compress.contracts import Embedder, OperatorTime, Runtime
from validators.runtimes._batches import WARM_UP, channels_first, in_batches
from validators.runtimes._installed import missing, version_of


@dataclass(frozen=True, kw_only=True)
class TorchScript(Runtime):
    formats: ClassVar[frozenset[str]] = frozenset({"torchscript"})
    package: ClassVar[str] = "torch"
    imports: ClassVar[tuple[str, ...]] = ("torch",)
    profiles: ClassVar[bool] = True

    def unavailable(self) -> str | None:
        return missing("torch", "compress-retrieval[train]")

    def version(self) -> str:
        return version_of("torch")

    def open(self, path: Path, threads: int) -> Embedder:
        import torch

        torch.set_num_threads(threads)
        if torch.get_num_interop_threads() > 1:  # torch allows setting it only once
            torch.set_num_interop_threads(1)
        module = torch.jit.load(str(path), map_location="cpu").eval()

        def embed(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                found: np.ndarray = module(torch.from_numpy(channels_first(images))).numpy()
            return found

        return in_batches(embed)

    def profile(self, path: Path, image: np.ndarray, threads: int, runs: int) -> list[OperatorTime]:
        from torch.profiler import ProfilerActivity, profile

        embed = self.open(path, threads)
        for _ in range(WARM_UP):
            embed(image)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(runs):
                embed(image)
        # An operator's own time, because e.g. aten::conv2d only calls other operators.
        found = [(e.key, e.count, e.self_cpu_time_total) for e in profiler.key_averages() if e.key.startswith("aten::")]
        return [OperatorTime(name, count // runs, total / runs / 1000) for name, count, total in found]
