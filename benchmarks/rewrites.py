"""What the exporters' rewrites gain: ``python -m benchmarks.rewrites [--measured] [SUFFIX …]``, about two minutes.

Exports ALNet (stem stride 2, 224 px, fp32) as it is (``optimize: none``), rewritten, and rewritten with ``max_bytes``
of 1 % more than the straight file has (``limited``). For comparison ALNet without attention and shuffles (``bare``:
another, poorer function, which no rewrite of ALNet can outrun), MobileNetV2 and, as TFLite, ALNet at w8a8. Times all
files of a format in turn, on one thread, in that thread's own processor time. Prints the ratio to the straight
conversion, to MobileNetV2, of the bytes, and the largest difference relative to the largest output. ``--measured`` adds
the forms that measure fastest, and prints them; that takes some minutes more for each format.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from architectures import create_model
from benchmarks._timing import medians
from compress.contracts import BadInput, DeployGraph, EmbeddingSpec, Preprocess
from exporters import export_model, find_exporter, planned
from exporters._deploy import Deployed, describe
from exporters.tflite import TFLite
from validators import format_of
from validators.timing import timer

SIZE = 224
ROUNDS = 60
CALLS = 3
"""In a row, the first of which warms the caches that the alternatives share."""


def conditioned(name: str, **options: Any) -> nn.Module:
    """Random weights whose batch normalisation fits its input, as training leaves it."""
    torch.manual_seed(0)
    network = create_model(name, **options).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network(torch.nn.functional.interpolate(torch.randn(16, 3, 14, 14), (SIZE, SIZE), mode="bilinear"))
    return network.eval()


def tflite(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (image,), (embedding,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(image["index"], pixels)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(embedding["index"]))

    return run


def onnxruntime(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(None, {"image": pixels})[0])


def torchscript(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    module = torch.jit.load(path)

    @torch.no_grad()
    def run(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(module(torch.from_numpy(pixels)))

    return run


OPEN = {".tflite": tflite, ".onnx": onnxruntime, ".pt": torchscript}


def graph_of(network: nn.Module, calibration: np.ndarray | None = None) -> DeployGraph:
    about = describe(
        name="alnet",
        license="unspecified",
        architecture="alnet",
        preprocess=(preprocess := Preprocess((SIZE, SIZE))),
        embedding=EmbeddingSpec(1280),
    )
    return DeployGraph(Deployed(network, preprocess, "l2"), (SIZE, SIZE), about, calibration)


def unchecked_integers(network: nn.Module, path: Path) -> Path:
    """Write w8a8 although integers suit no random weights: it is only timed."""
    noise = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)  # ranges change no time
    TFLite(precision="w8a8").write_unchecked(graph_of(network, noise), path)
    return path


def measured_plan(network: nn.Module, suffix: str) -> Mapping[str, str]:
    exporter = find_exporter(suffix)(optimize="measured")
    plan = planned(exporter, graph_of(network), timer(format_of(f"alnet{suffix}"))).plan
    assert plan is not None
    return plan


def compare(suffix: str, networks: dict[str, nn.Module], folder: Path, measured: bool) -> None:
    alnet = networks["alnet"]

    def export(kind: str, **options: Any) -> Path:
        return export_model(alnet, folder / f"alnet.{kind}{suffix}", input_size=SIZE, **options)

    paths = {f"alnet {kind}": export(kind, optimize=kind) for kind in ("none", "speed", "size")}
    try:
        paths["alnet limited"] = export("limited", max_bytes=int(1.01 * paths["alnet none"].stat().st_size))
    except BadInput as impossible:
        print(f"{suffix:8} alnet limited  {impossible}")
    if measured:
        plan = measured_plan(alnet, suffix)
        print(suffix, "measured:", ", ".join(f"{place}={form}" for place, form in plan.items()))
        paths["alnet measured"] = export("measured", plan=plan)
    rewritten = list(paths)
    if suffix == ".tflite":
        paths["alnet w8a8"] = unchecked_integers(alnet, folder / "alnet.w8a8.tflite")
    for name in ("bare alnet", "mobilenet_v2"):
        paths[name] = export_model(networks[name], folder / f"{name}{suffix}", input_size=SIZE)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 14, 14), (SIZE, SIZE), mode="bilinear")
    pixels = (image * 255).to(torch.uint8).numpy()
    if suffix == ".tflite":
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    runs = {name: OPEN[suffix](path) for name, path in paths.items()}
    straight = runs["alnet none"](pixels)
    errors = {name: np.abs(runs[name](pixels) - straight).max() / np.abs(straight).max() for name in rewritten}
    seconds = medians(
        {name: lambda run=run: [run(pixels) for _ in range(CALLS)] for name, run in runs.items()},  # type: ignore[misc]
        ROUNDS,
        time.thread_time,
    )
    for name, path in paths.items():
        ratios = [seconds[name] / seconds[other] for other in ("alnet none", "mobilenet_v2")]
        size = path.stat().st_size / paths["alnet none"].stat().st_size
        error = f"{errors[name]:.0e}" if name in errors else ""
        print(
            f"{suffix:8} {name:14} {1e3 * seconds[name] / CALLS:7.2f} ms  {ratios[0]:.2f} of straight  "
            f"{ratios[1]:.2f} of MobileNetV2  {size:.3f} of its bytes  {error}"
        )


def compare_programs(network: nn.Module, folder: Path) -> None:
    """Core ML cannot be timed here: operations, and the largest rank of a tensor."""
    from validators.mlprogram.program import load

    for kind in ("none", "speed", "size"):
        path = export_model(network, folder / f"alnet.{kind}.mlpackage", input_size=SIZE, optimize=kind)  # type: ignore[arg-type]
        operations = load(path).operations
        rank = max(len(output.shape) for op in operations for output in op.outputs)
        print(f"mlpackage alnet {kind:8} {len(operations)} operations, tensors of rank {rank} at most")


def main() -> None:
    torch.set_num_threads(1)
    measured, suffixes = "--measured" in sys.argv, [word for word in sys.argv[1:] if word in OPEN]
    networks = {
        "alnet": conditioned("alnet", stem_stride=2),
        "bare alnet": conditioned("alnet", stem_stride=2, cbam=False, channel_shuffle=False),
        "mobilenet_v2": conditioned("mobilenet_v2"),
    }
    with tempfile.TemporaryDirectory() as folder:
        for suffix in suffixes or OPEN:
            compare(suffix, networks, Path(folder), measured)
        compare_programs(networks["alnet"], Path(folder))


if __name__ == "__main__":
    main()
