"""Every network in every precision of TFLite on a GPU: ``python -m benchmarks.gpu FILE [NAME …]``, an hour on one core.

Exports networks with random weights whose batch normalisation fits its input, executes each file on LiteRT's CPU and on
its GPU accelerator (``make gpu``), and compares both with PyTorch on the same smooth random images. Prints the lowest
cosine of each and the share of operations that the GPU executes, as a table, and appends each row to FILE as it comes.
Rows that FILE has are not measured again: rerun the same command to resume.
A row is right if the GPU executes everything and keeps the precision's limit on the cosine, or if both are as far from
PyTorch: random weights suit no rounding of activations. Exit code 1 if a row is wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from architectures import create_model
from compress.contracts import CompressError
from compress.stages.prune import prune_model
from exporters import export_model
from validators.gates import default_limits
from validators.isolation import execute
from validators.runtimes.litert import LiteRT

PRECISIONS = ("fp32", "fp16", "w8", "w8a32", "w8a8")
ROUNDING = {"w8a32": 0.02, "w8a8": 0.02}
"""A GPU rounds activations at other operations than the CPU, or not at all."""
HEAD = "| network | precision | CPU, min cosine | GPU, min cosine | operations on the GPU |\n|---|---|---|---|---|\n"
WRONG = "**wrong**"
SIZE, IMAGES, CALIBRATION = 64, 8, 32
MEAN, STD = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def pruned(name: str, ratio: float) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        return prune_model(create_model(name), torch.zeros(1, 3, SIZE, SIZE), ratio, scope="layer")

    return build


def made(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: create_model(name, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ALNet": made("alnet"),
    "ALNet, stem stride 2": made("alnet", stem_stride=2),
    "LNet": made("alnet", channel_shuffle=False, cbam=False),
    "LNet+CS": made("alnet", cbam=False),
    "LNet+CBAM": made("alnet", channel_shuffle=False),
    "ShuffleNet v1": made("shufflenet_v1"),
    "ShuffleNet v2": made("shufflenet_v2"),
    "ALNet, pruned": pruned("alnet", 0.37),
    "ShuffleNet v1, pruned": pruned("shufflenet_v1", 0.37),
    "ShuffleNet v2, pruned": pruned("shufflenet_v2", 0.37),
    "fusion over ALNet": made("fusion", trunk="alnet"),
    "deep hash over ALNet": made("deep_hash", trunk="alnet"),
    "deep hash over MobileNet v1": made("deep_hash"),
    "GeM over ALNet": made("gem", trunk="alnet"),
    "GeM over MobileNet v3": made("gem", trunk="mobilenet_v3"),
    "DELF over MobileNet v1": made("delf"),
    "NetVLAD over ALNet": made("netvlad", trunk="alnet"),
    "MobileNet v2": made("mobilenet_v2"),
    "MobileNet v3": made("mobilenet_v3"),
    "ResNet": made("resnet"),
    "EfficientNet B0": made("efficientnet_b0"),
    "EfficientNet-Lite0": made("efficientnet_lite0"),
    "timm LCNet 050": made("timm", backbone="lcnet_050"),
    "timm MobileNet v4 small": made("timm", backbone="mobilenetv4_conv_small"),
}


def smooth(count: int, seed: int) -> np.ndarray:
    """Random images with large structures: uint8 [count, SIZE, SIZE, 3]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    large = nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    return np.ascontiguousarray((255 * large).to(torch.uint8).permute(0, 2, 3, 1).numpy())


def normalised(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - MEAN) / STD


@torch.no_grad()
def conditioned(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = build().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    network(normalised(smooth(32, 1)))
    return network.eval()


def lowest_cosine(found: np.ndarray | None, wanted: np.ndarray) -> float:
    if found is None:
        return float("nan")
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    products = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    return float(products.min())


def rows(names: list[str], done: list[str], folder: Path) -> Iterator[tuple[str, bool]]:
    """Rows of the table that are not in ``done``, each with whether it is right."""
    images = smooth(IMAGES, 2)
    for name in names:
        missing = [p for p in PRECISIONS if not any(row.startswith(f"| {name} | {p} |") for row in done)]
        if not missing:
            continue
        network = conditioned(NETWORKS[name])
        with torch.no_grad():
            wanted = network(normalised(images)).numpy()
        for precision in missing:
            calibration = smooth(CALIBRATION, 3) if precision == "w8a8" else None
            path = folder / f"network.{precision}.tflite"
            try:
                export_model(network, path, input_size=SIZE, precision=precision, calibration=calibration)
            except CompressError as refused:
                yield f"| {name} | {precision} | refused: {refused} | | |", True
                continue
            cpu = execute(LiteRT(), path, {"images": images})
            gpu = execute(LiteRT(accelerator="gpu"), path, {"images": images})
            cosines = [lowest_cosine(done.outputs and done.outputs["images"], wanted) for done in (cpu, gpu)]
            if gpu.failure is not None:
                yield f"| {name} | {precision} | {cosines[0]:.6f} | {gpu.failure} | |", False
                continue
            assert gpu.acceleration is not None
            limit = min(default_limits(precision)["min_cosine"], cosines[0] - ROUNDING.get(precision, 1e-4))
            right = gpu.acceleration.share == 1 and cosines[1] >= limit
            others = "; ".join(gpu.acceleration.others)
            words = "all" if gpu.acceleration.share == 1 else f"{gpu.acceleration.share:.0%} ({others})"
            yield f"| {name} | {precision} | {cosines[0]:.6f} | {cosines[1]:.6f} | {words} |", right


def main() -> int:
    table = Path(sys.argv[1])
    torch.set_num_threads(1)
    if (reason := LiteRT(accelerator="gpu").unavailable()) is not None:
        print(reason)
        return 3
    if not table.exists():
        table.write_text(HEAD, encoding="utf-8")
    done = table.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder, table.open("a", encoding="utf-8") as file:
        for row, right in rows(sys.argv[2:] or list(NETWORKS), done, Path(folder)):
            done.append(row if right else f"{row} {WRONG}")
            print(done[-1], file=file, flush=True)
    print("\n".join(done))
    return 1 if any(row.endswith(WRONG) for row in done) else 0


if __name__ == "__main__":
    sys.exit(main())
