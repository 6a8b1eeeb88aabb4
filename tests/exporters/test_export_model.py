"""The one call: arguments that make no sense end in one line, before anything is written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.contracts import BadInput, MissingTool
from exporters import export_model, find_exporter
from validators import FORMATS

CALIBRATION = np.zeros((2, 16, 16, 3), dtype=np.uint8)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _Embedding(nn.Module):
    """Has a layer, not a method, called ``embed``."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.embed(x)
        return 2 * pooled.flatten(1)


class _Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        (
            "m.pth",
            {},
            r"'\.pth' is not the suffix of a format \(\.aimodel, \.coreml\.pte, \.mlpackage, \.onnx, \.pt, "
            r"\.pte, \.ptl, \.tflite\)",
        ),
        ("m", {}, r"m: '' is not the suffix"),
        ("m.pt", {"precision": "fp16"}, r"precision: 'fp16' is not supported by torchscript \(fp32, w8\)"),
        ("m.mlpackage", {"precision": "w8a8"}, r"'w8a8' is not supported by coreml \(fp32, fp16, w8, p8, p6, p4, w4\)"),
        ("m.tflite", {"precision": "int8"}, r"'int8' is not supported by tflite \(fp32, fp16, w8, w8a32, w8a8\)"),
        (
            "m.tflite",
            {"precision": "w8a8"},
            r"calibration: tflite w8a8 needs uint8 training images .*; none were given",
        ),
        (
            "m.onnx",
            {"precision": "w8a8", "calibration": CALIBRATION[:, :8]},
            r"calibration: onnx w8a8 needs uint8 training images \[N, 16, 16, 3\].*; got uint8 \[2, 8, 16, 3\]",
        ),
        ("m.onnx", {"precision": "w8a8", "calibration": CALIBRATION[:0]}, r"got uint8 \[0, 16, 16, 3\]"),
        ("m.onnx", {"precision": "w8a8", "calibration": CALIBRATION / 255}, r"got float64 \[2, 16, 16, 3\]"),
        ("m.tflite", {"calibration": CALIBRATION}, r"calibration: tflite fp32 uses no calibration images"),
        ("m.pt", {"input_size": 0}, r"input_size: 0 must be"),
        ("m.pt", {"input_size": True}, r"input_size: True must be"),
        ("m.pt", {"input_size": (32, 32, 3)}, r"input_size: \(32, 32, 3\) must be"),
        ("m.pt", {"input_size": 32.0}, r"input_size: 32\.0 must be"),
        ("m.pt", {"mean": (0.5, 0.5)}, r"mean: \(0\.5, 0\.5\) must be three numbers"),
        ("m.pt", {"std": 0.5}, r"std: 0\.5 must be three numbers"),
        ("m.pt", {"std": (0.2, 0.0, 0.2)}, r"std: .* must be above 0"),
        ("m.pt", {"distance": "euclid"}, r"distance: 'euclid' is not one of l2, cosine, hamming"),
        ("m.pt", {"metadata": {"when": object()}}, r"metadata: must hold JSON values"),
        ("m.pt", {"input_size": 2}, r"input_size: Sequential does not take 2x2 RGB images"),
    ],
)
def test_bad_arguments(file: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as error:
        export_model(network(), tmp_path / "new" / file, **{"input_size": 16, **options})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 4, 3), r"Conv2d: must give one float vector \[N, D\] per image, gave \[1, 4, 14, 14\]"),
        (_Branching(), r"_Branching: cannot be exported because torch\.fx cannot trace its forward"),
    ],
)
def test_networks_that_are_no_embedding(model: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as error:
        export_model(model, tmp_path / "m.pt", input_size=16)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_layer_called_embed_is_not_the_embedding(tmp_path: Path) -> None:
    path = export_model(_Embedding(), tmp_path / "m.pt", input_size=8, mean=(0, 0, 0), std=(1, 1, 1))
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.jit.load(path)(white).tolist() == [pytest.approx([2, 2, 2])]


def test_the_folder_is_made(tmp_path: Path) -> None:
    path = export_model(network(), str(tmp_path / "a" / "b" / "m.pt"), input_size=(16, 24))
    assert path == tmp_path / "a" / "b" / "m.pt"
    assert [file.name for file in path.parent.iterdir()] == ["m.pt"]


@pytest.mark.parametrize(
    ("suffix", "library", "extras"),
    [
        (".onnx", "onnxsim", "train,onnx"),
        (".tflite", "litert-torch", "train,tflite"),
        (".mlpackage", "coremltools", "train,coreml"),
    ],
)
def test_a_missing_converter_is_named(
    suffix: str, library: str, extras: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distribution is hidden as on a machine without it: its metadata cannot be found."""
    import importlib.metadata

    found = importlib.metadata.version

    def version(name: str) -> str:
        if name == library:
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(MissingTool, match=rf"needs {library}, not installed here.*\[{extras}\]"):
        export_model(network(), tmp_path / f"m{suffix}", input_size=16)
    assert not list(tmp_path.iterdir())


def test_finding_a_format_loads_nothing_heavy() -> None:
    script = (
        "import sys, exporters\n"
        f"for suffix in {sorted(FORMATS)}: exporters.find_exporter(suffix)\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'litert_torch', 'ai_edge_litert', 'coremltools', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_find_exporter() -> None:
    assert find_exporter(".ptl").format == "torchscript-lite"
    with pytest.raises(BadInput, match=r"'\.ptx' is not the suffix"):
        find_exporter(".ptx")


@pytest.mark.every_change(".tflite")
@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage"])
def test_converters_are_quiet(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_model(network(), tmp_path / f"m{suffix}", input_size=16)
    assert capfd.readouterr() == ("", "")


def test_the_model_may_be_any_float(tmp_path: Path, tinted: Callable[..., np.ndarray]) -> None:
    path = export_model(network().double(), tmp_path / "m.pt", input_size=16)
    pixels = torch.from_numpy(tinted(2, 16, 16).transpose(0, 3, 1, 2).copy())
    assert torch.jit.load(path)(pixels).dtype == torch.float32
