"""ALNet beside the networks it competes with: ``python -m benchmarks.peers [SIZE [SUFFIX ...]]``.

Exports headless networks at SIZE pixels (224) to each format (.tflite .onnx .pt), float32, times all of them in one
interleaved run on one thread, and prints median, p95, file size, memory and the ratios to the straight conversion and
to MobileNetV2. The straight conversion is what the converter makes of ALNet as it was trained, nothing folded and
nothing rewritten. Weights are random with calibrated statistics: latency does not depend on them, but for denormal
numbers, which uncalibrated ones produce. MobileNetV4-conv-small at half width comes from timm, where that is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from architectures import create_model
from compress.commands.bench import Subject, Timing, side_by_side
from compress.contracts import DeployGraph, EmbeddingSpec, Preprocess
from exporters import export_model, find_exporter
from exporters._deploy import describe
from validators import choose_runtime, format_of

STRAIGHT, REFERENCE = "alnet, straight", "mobilenet_v2"
TIMM = "mobilenetv4_conv_small_050"


class Straight(nn.Module):
    """uint8 pixels, normalisation and the network, as anyone would write it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.network((image.float() / 255 - 0.45) / 0.225)
        return embedding


def networks() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    yield "alnet", lambda: create_model("alnet", stem_stride=2)
    yield REFERENCE, lambda: create_model(REFERENCE)
    yield "mobilenet_v3 small", lambda: create_model("mobilenet_v3")
    yield "shufflenet_v2", lambda: create_model("shufflenet_v2")
    if importlib.util.find_spec("timm") is None:
        print(f"{TIMM} is left out: timm is not installed (pip install timm)")
        return
    timm: Any = importlib.import_module("timm")
    yield TIMM, lambda: timm.create_model(TIMM, num_classes=0)


def calibrated(build: Callable[[], nn.Module], size: int) -> nn.Module:
    torch.manual_seed(0)
    network = build().train()
    with torch.no_grad():
        for _ in range(10):
            network(torch.randn(8, 3, size, size))
    return network.eval()


def write_straight(network: nn.Module, path: Path, size: int) -> None:
    preprocess = Preprocess((size, size), mean=(0.45,) * 3, std=(0.225,) * 3)
    embedding = EmbeddingSpec(int(network(torch.zeros(1, 3, size, size)).shape[1]))
    about = describe(name=path.stem, license="none", architecture="alnet", preprocess=preprocess, embedding=embedding)
    find_exporter(path.suffix)(optimize="none").write(DeployGraph(Straight(network).eval(), (size, size), about), path)


def print_timings(timings: list[Timing], files: dict[str, Path]) -> None:
    medians = {timing.path: timing.median for timing in timings}
    for timing in timings:
        if timing.reason is not None:
            print(f"{timing.path:28} {timing.reason}")
            continue
        ratios = [
            timing.median / medians[base] if medians.get(base) else float("nan") for base in (STRAIGHT, REFERENCE)
        ]
        print(
            f"{timing.path:28} {timing.median:8.3f} ms  p95 {timing.p95:8.3f}  {ratios[0]:5.2f} x straight"
            f"  {ratios[1]:5.2f} x MobileNetV2  {files[timing.path].stat().st_size / 1e6:6.2f} MB"
            f"  memory {timing.peak_bytes / 1e6:4.0f} MB"
        )


def main(size: int, suffixes: list[str]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    built = {name: calibrated(build, size) for name, build in networks()}
    for suffix in suffixes:
        runtime = choose_runtime(format_of(f"x{suffix}"))
        with tempfile.TemporaryDirectory() as folder:
            files = {STRAIGHT: Path(folder) / f"straight{suffix}"}
            write_straight(built["alnet"], files[STRAIGHT], size)
            for name, network in built.items():
                files[name] = export_model(network, Path(folder) / f"{name.replace(' ', '_')}{suffix}", input_size=size)
            subjects = [Subject(name, runtime, file) for name, file in files.items()]
            print(f"{suffix} on {runtime.version()}, {size} px, one thread, one image")
            print_timings(side_by_side(subjects, image), files)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 224, sys.argv[2:] or [".tflite", ".onnx", ".pt"])
