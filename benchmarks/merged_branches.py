"""What merging parallel branches gains: ``python -m benchmarks.merged_branches [BACKBONE …]``, about two minutes.

Exports MobileOne-S0 of timm, or other networks, at 224 px in fp32, as every export does and with its branches. Prints
the parameters of the graph, the bytes of each file, and the median time of an image on one thread, in that thread's own
processor time, in turn.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from architectures import create_model
from benchmarks._timing import medians
from benchmarks.networks import calibrated
from benchmarks.rewrites import OPEN
from compress.contracts import Preprocess
from compress.system.files import artifact_bytes
from exporters import export_model
from exporters._deploy import Deployed

SIZE = 224
ROUNDS = 30


def forms(network: nn.Module, suffixes: tuple[str, ...], folder: Path) -> tuple[int, dict[str, Path]]:
    """The parameters of the graph that exporters write, and the files."""
    count = sum(values.numel() for values in Deployed(network, Preprocess((SIZE, SIZE)), "l2").parameters())
    return count, {suffix: export_model(network, folder / f"m{suffix}", input_size=SIZE) for suffix in suffixes}


def main(backbones: list[str]) -> None:
    torch.set_num_threads(1)
    suffixes = (".pt", ".onnx", ".tflite", ".mlpackage")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), np.uint8)
    for backbone in backbones:
        network = calibrated(lambda backbone=backbone: create_model("timm", backbone=backbone), (SIZE, SIZE))  # type: ignore[misc]
        with tempfile.TemporaryDirectory() as folder:
            merged, files = forms(network, suffixes, Path(folder) / "merged")
            with patch("exporters._deploy.merge_branches", lambda graph: None):
                whole, branched = forms(network, suffixes, Path(folder) / "branched")
            print(f"{backbone}: {merged:,} parameters merged, {whole:,} with branches")
            for suffix in suffixes:
                sizes = f"{artifact_bytes(files[suffix]):,} and {artifact_bytes(branched[suffix]):,} bytes"
                print(f"{suffix:10} {sizes}{_times(suffix, files, branched, pixels)}", flush=True)


def _times(suffix: str, files: dict[str, Path], branched: dict[str, Path], pixels: np.ndarray) -> str:
    if suffix not in OPEN:
        return ""
    shown = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)) if suffix == ".tflite" else pixels
    models = {name: OPEN[suffix](each[suffix]) for name, each in (("merged", files), ("branches", branched))}
    calls: dict[str, Callable[[], object]] = {name: lambda run=run: run(shown) for name, run in models.items()}  # type: ignore[misc]
    seconds = medians(calls, ROUNDS, time.thread_time)
    return f", {1e3 * seconds['merged']:.1f} and {1e3 * seconds['branches']:.1f} ms"


if __name__ == "__main__":
    main(sys.argv[1:] or ["mobileone_s0"])
