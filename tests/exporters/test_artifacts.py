"""Every format gives what the PyTorch model gives, and a wrong artifact would be seen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn

from architectures import create_model, list_models
from compress import plugins
from compress.contracts import Exporter
from compress.system.files import artifact_sha256
from exporters import export_model
from tests.exporters._runners import ELSEWHERE, FORMATS, MEAN, QUANTIZED, STD, min_cosine, reference, run
from tests.exporters.conftest import SIZE

EQUAL = {"fp32": 0.99999, "fp16": 0.999}
DIFFERENT = 0.99
COUNT = 12

every_format = pytest.mark.parametrize(("suffix", "precision"), FORMATS, ids=[s + "-" + p for s, p in FORMATS])


@pytest.fixture(scope="module")
def images(tinted: Callable[..., np.ndarray]) -> np.ndarray:
    """Digits the network was not trained on."""
    return tinted(COUNT, *SIZE, first=1000)


@pytest.fixture(scope="module")
def expected(trained: nn.Module, images: np.ndarray) -> np.ndarray:
    return reference(trained, images)


def test_every_format_and_precision_is_here() -> None:
    declared = set()
    for name in plugins.names(Exporter):
        component = plugins.find(Exporter, name)
        declared |= {(component.suffix, precision) for precision in get_args(get_type_hints(component)["precision"])}
    assert declared == {*FORMATS, *QUANTIZED, *ELSEWHERE}


def test_the_images_are_told_apart(expected: np.ndarray) -> None:
    assert expected.shape == (COUNT, 1280)
    assert all(min_cosine(expected[a : a + 1], expected[b : b + 1]) < DIFFERENT for a in range(COUNT) for b in range(a))


@pytest.mark.every_change(".pt", ".onnx", ".tflite", "fp16")
@every_format
def test_it_gives_what_pytorch_gives(
    artifact: Callable[..., Path], images: np.ndarray, expected: np.ndarray, suffix: str, precision: str
) -> None:
    embeddings = run(artifact(suffix, precision), images)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == expected.shape
    assert min_cosine(embeddings, expected) >= EQUAL[precision]
    if precision == "fp32":
        assert np.abs(embeddings - expected).max() <= 5e-4 * np.abs(expected).max()


@pytest.mark.every_change(".pt", ".onnx", ".tflite", "fp16")
@every_format
def test_swapped_channels_would_be_seen(
    artifact: Callable[..., Path], images: np.ndarray, expected: np.ndarray, suffix: str, precision: str
) -> None:
    assert min_cosine(run(artifact(suffix, precision), np.ascontiguousarray(images[..., ::-1])), expected) < DIFFERENT


def test_a_forgotten_normalisation_would_be_seen(
    trained: nn.Module, tmp_path: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    path = export_model(trained, tmp_path / "raw.pt", input_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1))
    assert min_cosine(run(path, images), expected) < DIFFERENT


def test_a_constant_network_would_be_seen(tmp_path: Path, images: np.ndarray, expected: np.ndarray) -> None:
    network = create_model("alnet", stem_stride=2).eval()
    nn.init.zeros_(network.get_parameter("head.0.1.weight"))
    nn.init.uniform_(network.get_parameter("head.0.1.bias"))
    embeddings = run(export_model(network, tmp_path / "constant.pt", input_size=SIZE), images)
    assert np.ptp(embeddings, axis=0).max() < 1e-6
    assert min_cosine(embeddings, expected) < DIFFERENT


@pytest.mark.parametrize("suffix", [".pt", ".ptl", ".onnx"])
def test_the_batch_is_free(artifact: Callable[..., Path], images: np.ndarray, suffix: str) -> None:
    path = artifact(suffix)
    together = run(path, images[:3])
    apart = np.concatenate([run(path, images[number : number + 1]) for number in range(3)])
    assert together.shape == (3, 1280)
    assert np.abs(together - apart).max() <= 1e-4 * np.abs(apart).max()


class _Small(nn.Module):
    """Average pooling to 1x1 after one strided convolution; the embedding has four values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(self.conv(x).sigmoid())
        return pooled.flatten(1)


@pytest.mark.every_change(".pt", ".tflite")
@pytest.mark.parametrize("suffix", sorted({suffix for suffix, _ in FORMATS}))
def test_cosine_gives_unit_vectors_at_an_odd_size(
    suffix: str, tmp_path: Path, tinted: Callable[..., np.ndarray]
) -> None:
    torch.manual_seed(1)
    network = _Small()
    probes = tinted(3, 37, 53)
    want = reference(network, probes)
    assert not np.allclose(np.linalg.norm(want, axis=1), 1, atol=0.01)
    path = export_model(network, tmp_path / f"unit{suffix}", input_size=(37, 53), distance="cosine")
    got = run(path, probes)
    assert np.linalg.norm(got, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
    assert got == pytest.approx(want / np.linalg.norm(want, axis=1, keepdims=True), abs=1e-5)


@pytest.mark.every_change("delf")
@pytest.mark.parametrize(("name", "suffix"), zip(list_models(), itertools.cycle([".pt", ".ptl"]), strict=False))
def test_every_architecture_traces(
    name: str, suffix: str, tmp_path: Path, calibrate: Callable[..., nn.Module], tinted: Callable[..., np.ndarray]
) -> None:
    network = calibrate(create_model(name, num_classes=3))
    probes = tinted(4, 64, 64, first=200)
    path = export_model(network, tmp_path / f"{name}{suffix}", input_size=64)
    assert min_cosine(run(path, probes), reference(network, probes)) >= EQUAL["fp32"]


# The slow converters meet what ALNet has not: residuals, hard-swish, squeeze-and-excitation, strided channel splits.
# So many layers hold all of it; those behind them are more of the same.
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "layers", "suffix"),
    [
        ("mobilenet_v3", 6, ".tflite"),
        ("shufflenet_v2", 3, ".onnx"),
        pytest.param("mobilenet_v3", 6, ".onnx", marks=pytest.mark.nightly),
        pytest.param("shufflenet_v2", 3, ".tflite", marks=pytest.mark.nightly),
    ],
)
def test_other_architectures_convert(
    name: str,
    layers: int,
    suffix: str,
    tmp_path: Path,
    calibrate: Callable[..., nn.Module],
    tinted: Callable[..., np.ndarray],
) -> None:
    network: Any = create_model(name)
    network.trunk = network.trunk[:layers]
    network = calibrate(network)
    probes = tinted(4, 64, 64, first=200)
    path = export_model(network, tmp_path / f"{name}{suffix}", input_size=64)
    assert min_cosine(run(path, probes), reference(network, probes)) >= EQUAL["fp32"]


def test_the_caller_keeps_the_model(tmp_path: Path, calibrate: Callable[..., nn.Module]) -> None:
    network = calibrate(create_model("mobilenet_v1", num_classes=3)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_model(network, tmp_path / "m.pt", input_size=64)
    assert network.training and network.classifier is not None
    assert all(parameter.requires_grad for parameter in network.parameters())
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_normalisation_is_the_one_given(tmp_path: Path, images: np.ndarray) -> None:
    """A network that returns the mean of each channel: (mean of x / 255 - mean) / std, in plain NumPy."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    got = run(export_model(network, tmp_path / "mean.pt", input_size=SIZE), images)
    want = (images.astype(np.float64).mean((1, 2)) / 255 - MEAN) / STD
    assert got == pytest.approx(want, abs=1e-5)


def test_writing_again_replaces(trained: nn.Module, tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for suffix in (".pt", ".mlpackage"):
        path = export_model(nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), tmp_path / f"m{suffix}", input_size=8)
        first = artifact_sha256(path)
        export_model(network, path, input_size=8)
        assert artifact_sha256(path) != first
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.mlpackage", "m.pt"]
