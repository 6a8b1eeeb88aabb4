"""Every network in the precisions of TFLite on a GPU: ``python -m benchmarks.gpu FILE [NAME …]``, hours on one core.

Exports networks with random weights whose batch normalisation fits its input, executes each file on LiteRT's CPU and on
its GPU accelerator (``make gpu``), and compares both with PyTorch and with each other on the same smooth random images.
Prints the lowest cosines and the share of operations that the GPU executes, as a table, and appends each row to FILE as
it comes. Rows that FILE has are not measured again: rerun the same command to resume.
The GPU is right if it executes everything and gives what the CPU gives of the same file: the cosine of the differences
from the mean embedding, which all images share, is at least 0.99. Files with int8 activations, which a GPU rounds
elsewhere or not at all, are right if they are as near to PyTorch. Exit code 1 if a row is wrong.
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
from compress.contracts import CompressError, DeployGraph, EmbeddingSpec, Preprocess
from compress.stages.prune import prune_model
from exporters._deploy import Deployed, describe
from exporters.tflite import TFLite
from validators.isolation import execute
from validators.runtimes.litert import LiteRT

PRECISIONS = ("fp32", "fp16", "w8", "w8a8")
ROUNDED, ROUNDING = ("w8a8",), 0.02
LEAST = 0.99
HEAD = """| network | precision | CPU and PyTorch | GPU and PyTorch | GPU and CPU | the same, centred | on the GPU |
|---|---|---|---|---|---|---|
"""
WRONG = "**wrong**"
SIZE, IMAGES, CALIBRATION = 64, 4, 16
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


def lowest_cosine(found: np.ndarray, wanted: np.ndarray, centre: np.ndarray | float = 0.0) -> float:
    """The least cosine of two embeddings [N, D] of one image, after ``centre`` is subtracted."""
    found, wanted = found.astype(np.float64) - centre, wanted.astype(np.float64) - centre
    products = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    return float(products.min())


def rows(names: list[str], done: list[str], folder: Path) -> Iterator[tuple[str, bool]]:
    """Rows of the table that are not in ``done``, each with whether it is right."""
    for name in names:
        missing = [p for p in PRECISIONS if not any(row.startswith(f"| {name} | {p} |") for row in done)]
        network = conditioned(NETWORKS[name]) if missing else None
        for precision in missing:
            assert network is not None
            cells, right = measured(network, precision, folder / "network.tflite")
            yield f"| {name} | {precision} | {' | '.join(cells)} |", right


def measured(network: nn.Module, precision: str, path: Path) -> tuple[list[str], bool]:
    """The cells of one row after its precision, and whether it is right."""
    images = smooth(IMAGES, 2)
    with torch.no_grad():
        wanted = network(normalised(images)).numpy()
    preprocess = Preprocess((SIZE, SIZE))
    embedding = EmbeddingSpec(wanted.shape[1])
    about = describe(name="network", license="none", architecture="any", preprocess=preprocess, embedding=embedding)
    calibration = smooth(CALIBRATION, 3) if precision in TFLite.calibrated else None
    graph = DeployGraph(Deployed(network, preprocess, "l2"), (SIZE, SIZE), about, calibration)
    try:
        # Unchecked, because integers suit no random weights: here the GPU is compared with the CPU.
        TFLite(precision=precision).write_unchecked(graph, path)  # type: ignore[arg-type]
    except CompressError as refused:
        return [f"refused: {refused}", "", "", "", ""], True
    cpu, gpu = (execute(runtime, path, {"": images}) for runtime in (LiteRT(), LiteRT(accelerator="gpu")))
    if cpu.outputs is None:
        return [str(cpu.failure), "", "", "", ""], False
    on_cpu = cpu.outputs[""]
    near = lowest_cosine(on_cpu, wanted)
    if gpu.outputs is None:
        return [f"{near:.6f}", str(gpu.failure), "", "", ""], False
    assert gpu.acceleration is not None
    on_gpu, share = gpu.outputs[""], gpu.acceleration.share
    found = [near, *(lowest_cosine(on_gpu, other) for other in (wanted, on_cpu))]
    found.append(lowest_cosine(on_gpu, on_cpu, on_cpu.mean(0)))
    right = found[1] >= near - ROUNDING if precision in ROUNDED else found[3] >= LEAST
    words = "all" if share == 1 else f"{share:.0%} ({'; '.join(gpu.acceleration.others)})"
    return [*(f"{value:.6f}" for value in found), words], right and share == 1


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
