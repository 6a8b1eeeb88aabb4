"""LiteRT's GPU accelerator: faithful files pass, and files that the GPU computes wrongly or not at all must fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.contracts import BadInput, EmbeddingSpec, HeldOut, ImageSet, Observation, Optimize
from exporters import export_model
from tests.validators import _linear
from tests.validators.conftest import Artifacts
from validators import runtime_named
from validators.checks.feature_parity import FeatureParity
from validators.checks.retrieval_map import RetrievalMap
from validators.gates import default_limits, limits_on
from validators.held_out_part import affordable_part
from validators.isolation import execute
from validators.measure import executed, measure
from validators.results import Execution
from validators.runtimes import _litert_gpu
from validators.runtimes.litert import LiteRT

GPU = LiteRT(accelerator="gpu")


@pytest.fixture(scope="session")
def gpu() -> LiteRT:
    """The runtime, on the device of the folder that ``make gpu`` makes, or on this machine's own."""
    if (reason := GPU.unavailable()) is not None:
        pytest.skip(reason)
    return GPU


def grouped(channels: int, groups: int) -> nn.Module:
    """A stem, a grouped convolution and a pooled embedding, with random weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, groups=groups),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()


class RankFive(nn.Module):
    """Pools to [N, 3] with a tensor of rank 5 on the way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w).transpose(2, 3).mean((2, 3, 4))


def judged(network: nn.Module, path: Path, runtime: LiteRT, optimize: Optimize = "none") -> Execution:
    """The verdict on ``network``'s export: 12 images of 16 x 16 pixels in three classes, leave-one-out."""
    export_model(network, path, input_size=16, optimize=optimize)
    images = _linear.photos(12, 16, 16)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        embeddings = network((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std).numpy()
    split = ImageSet(images, np.arange(12) % 3, tuple(f"{number}" for number in range(12)))
    reference = Observation(embeddings, embeddings, embeddings[:2])
    checks = [FeatureParity(), RetrievalMap()]
    spec = EmbeddingSpec(embeddings.shape[1])
    done = measure(runtime, path, reference, HeldOut(split, split, images[:2]), checks, spec)
    limits = {n: v for n, v in default_limits("fp32").items() if n not in ("control_ratio", "golden_neighbours")}
    limits = limits_on(runtime.processor(), runtime.evidence(), limits, "fp32")
    return executed(runtime, done.measurement, done.failure, limits, {})


def test_a_linear_network_is_right_to_half_precision(gpu: LiteRT, linear: Artifacts) -> None:
    images = {str(count): _linear.photos(count, 7, 5) for count in (0, 3)}
    done = execute(gpu, linear[7, 5]["tflite"], images)
    assert done.outputs is not None, done.failure
    assert done.outputs["0"].shape == (0, _linear.DIM)
    wanted = _linear.expected(images["3"])
    assert np.abs(done.outputs["3"] - wanted).max() <= 2e-3 * np.abs(wanted).max()
    assert done.acceleration is not None
    assert done.acceleration.share == 1
    assert done.version == gpu.version()
    assert " on " in gpu.version()


def test_groups_of_four_channels_pass_and_of_two_fail_though_all_is_accelerated(gpu: LiteRT, tmp_path: Path) -> None:
    right = judged(grouped(16, 4), tmp_path / "four.tflite", gpu)
    assert right.failed == (), right.failed
    wrong = judged(grouped(16, 8), tmp_path / "two.tflite", gpu)
    assert {"min_cosine", "min_centered_cosine"} <= {gate.name for gate in wrong.failed}
    for each in (right, wrong):
        assert each.processor == "gpu"
        assert each.evidence == gpu.evidence()
        assert each.acceleration is not None
        assert each.acceleration.share == 1
    assert judged(grouped(16, 8), tmp_path / "two.tflite", LiteRT()).failed == ()  # the control: the file is right


@pytest.mark.nightly  # CI runs the quickstart's files on it
@pytest.mark.parametrize("optimize", ["speed", "size"])
def test_every_export_but_the_straight_one_is_right_on_a_gpu(gpu: LiteRT, optimize: Optimize, tmp_path: Path) -> None:
    found = judged(grouped(24, 8), tmp_path / "three.tflite", gpu, optimize)
    assert found.failed == (), found.failed
    assert found.acceleration is not None
    assert found.acceleration.share == 1


class Traps(nn.Module):
    """What LiteRT's GPU accelerator computes wrongly, side by side, with an embedding of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.grouped = nn.Conv2d(16, 32, 1, groups=2)  # wrong with int8 weights
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.single = nn.Conv2d(1, 8, 3)  # ends the process with int8 weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x).relu()
        maps = self.grouped(y).relu(), self.pool(y), self.single(y.mean(1, keepdim=True)).relu()
        return torch.cat([each.mean((2, 3)) for each in maps], 1)


@pytest.mark.nightly
@pytest.mark.parametrize("precision", ["fp32", pytest.param("w8", marks=pytest.mark.nightly)])
def test_what_a_gpu_computes_wrongly_is_written_in_another_way(gpu: LiteRT, precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, images = Traps().eval(), _linear.photos(3, 16, 16)
    path = export_model(network, tmp_path / "traps.tflite", input_size=16, precision=precision)
    cpu, done = execute(LiteRT(), path, {"": images}), execute(gpu, path, {"": images})
    assert cpu.outputs is not None
    assert done.outputs is not None, done.failure
    assert np.abs(done.outputs[""] - cpu.outputs[""]).max() <= 2e-3 * np.abs(cpu.outputs[""]).max()
    export_model(network, path, input_size=16, precision=precision, optimize="none")  # the control
    straight = execute(gpu, path, {"": images}).outputs
    assert straight is None or np.abs(straight[""] - cpu.outputs[""]).max() > 0.05 * np.abs(cpu.outputs[""]).max()


@pytest.mark.nightly
@pytest.mark.parametrize("precision", ["w8a32", "w8a8"])
def test_the_stride_of_a_shortcut_counts_on_a_gpu(gpu: LiteRT, precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 1, 2))
    network = nn.Sequential(shortcut, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = _linear.photos(16, 16, 16)
    options = {"precision": precision} | ({"calibration": images} if precision == "w8a8" else {})
    path, error = tmp_path / "shortcut.tflite", {}
    for optimize in ("speed", "none"):  # the control
        export_model(network, path, input_size=16, optimize=optimize, **options)  # type: ignore[arg-type]
        cpu, done = (execute(runtime, path, {"": images[:4]}).outputs for runtime in (LiteRT(), gpu))
        assert cpu is not None
        assert done is not None
        error[optimize] = np.abs(done[""] - cpu[""]).max() / np.abs(cpu[""]).max()
    assert error["speed"] < 0.02 < 0.1 < error["none"]


def test_operations_that_stay_on_the_cpu_are_named_and_fail_their_gate(gpu: LiteRT, tmp_path: Path) -> None:
    found = judged(RankFive(), tmp_path / "rank5.tflite", gpu)
    assert [gate.name for gate in found.failed] == ["accelerated"]
    assert found.acceleration is not None
    assert found.acceleration.share is not None
    assert 0 < found.acceleration.share < 1
    assert any("RESHAPE: Tensor dimensions must be less than 5" in line for line in found.acceleration.others)


def test_a_software_device_is_not_called_native_and_has_no_latency(gpu: LiteRT, tmp_path: Path) -> None:
    found, _ = _litert_gpu.device()
    assert found is not None
    assert found.name in gpu.version()
    assert gpu.evidence() == ("gpu-software" if found.software else "native")
    assert gpu.timed() != found.software
    assert (judged(grouped(16, 1), tmp_path / "dense.tflite", gpu).latency_ms is None) == found.software


# ------------------------------------------------------------------------------------------ without a device


def test_real_devices_come_before_software() -> None:
    software, integrated, discrete = ("llvmpipe", 4), ("Intel", 1), ("NVIDIA", 2)
    assert _litert_gpu.chosen([software, integrated, discrete]) == _litert_gpu.Device("NVIDIA", software=False)
    assert _litert_gpu.chosen([software, integrated]) == _litert_gpu.Device("Intel", software=False)
    assert _litert_gpu.chosen([software]) == _litert_gpu.Device("llvmpipe", software=True)
    assert _litert_gpu.chosen([]) is None


@pytest.mark.parametrize("printed", ["", "Selected adapter: SwiftShader, arch=swiftshader, adapterType=CPU / Software"])
def test_evidence_for_another_device_than_the_one_that_executed_is_refused(printed: str) -> None:
    with pytest.raises(RuntimeError, match=r"names no GPU device|took 'SwiftShader' .*, not the real device 'NVIDIA'"):
        _litert_gpu._check_device(printed, _litert_gpu.Device("NVIDIA", software=False))
    _litert_gpu._check_device(
        "Selected adapter: NVIDIA, arch=ampere, adapterType=Discrete GPU", _litert_gpu.Device("NVIDIA", software=False)
    )


def test_a_folder_without_a_device_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_GPU", str(tmp_path / "none"))
    reason = GPU.unavailable()
    assert reason is not None
    assert f"COMPRESS_GPU names {tmp_path / 'none'}" in reason
    assert "make gpu" in reason
    assert "\n" not in reason
    assert GPU.evidence() == "gpu-software"
    assert runtime_named("litert-gpu") == GPU


def test_kernels_of_the_cpu_cannot_be_chosen_for_the_gpu() -> None:
    with pytest.raises(BadInput, match="xnnpack: false changes the kernels of the CPU"):
        LiteRT(accelerator="gpu", xnnpack=False)


def test_limits_of_a_real_gpu_are_those_of_half_precision() -> None:
    limits = {**default_limits("fp32"), "latency_ms": 5.0, "mAP": 0.8, "min_centered_cosine": 0.5}
    real = limits_on("gpu", "native", limits, "fp32")
    assert real == {
        **{"accelerated": 1, "control_ratio": 1, "latency_ms": 5, "mAP": 0.8},
        **{"min_cosine": 0.998, "mAP_drop": 0.005, "golden_neighbours": 0.95},
        "min_centered_cosine": 0.5,  # the recipe's own
    }
    software = limits_on("gpu", "gpu-software", limits, "fp32")
    assert "max_rel_error" in software
    assert not software.keys() & {"latency_ms", "mAP"}
    assert limits_on("x86", "native", {**limits, "accelerated": 0.9}, "fp32") == limits
    assert limits_on("gpu", "gpu-software", {**limits, "accelerated": 0.9}, "fp32")["accelerated"] == 0.9


def test_a_software_device_executes_a_sample(linear: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _linear.photos(60, 7, 5)
    embeddings = _linear.expected(images)
    split = ImageSet(images, np.arange(60) % 20, tuple(f"{number}" for number in range(60)))
    reference, held_out = Observation(embeddings, embeddings, embeddings[:1]), HeldOut(split, split, images[:1])
    assert affordable_part(held_out, None) is None
    assert affordable_part(held_out, None, 60) is None
    monkeypatch.setattr(LiteRT, "most_images", lambda runtime: 10)
    checks = [FeatureParity(), RetrievalMap()]
    done = measure(LiteRT(), linear[7, 5]["tflite"], reference, held_out, checks, EmbeddingSpec(4))
    assert done.part is not None
    assert 5 <= len(done.part.queries) <= 10
    assert done.measurement.retrieval is not None
    assert done.measurement.retrieval.queries == len(done.part.queries)
    assert done.measurement.retrieval.mAP_drop == 0
