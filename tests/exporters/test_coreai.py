"""Core AI packages: what they compute, store and tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from architectures import create_model
from compress.contracts import MissingTool
from compress.system.files import artifact_bytes, artifact_sha256
from exporters import export_model
from exporters.coreai import CoreAI
from tests._once import shared
from tests.exporters._runners import min_cosine, reference
from tests.exporters.test_reproducible import machine_paths
from validators import runtime_named
from validators.coreai_environment import COREAI_PYTHON
from validators.file_metadata import read_metadata
from validators.isolation import execute

SIZE = (32, 48)
RUNTIME = runtime_named("coreai")
PRECISIONS = {"fp32": ("float32", 0.99999), "fp16": ("float16", 0.998)}

needs_environment = pytest.mark.skipif(
    not Path(COREAI_PYTHON.interpreter() or "missing").exists(), reason="'make coreai' makes the environment"
)


@pytest.fixture(scope="module")
def network(calibrate: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return calibrate(create_model("alnet", widths=(16, 24), strides=(2, 2), expansions=(1, 3), head_width=128), *SIZE)


@pytest.fixture(scope="module")
def export(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """export(precision) -> the network in that precision; converted once."""

    def converted(precision: str) -> Path:
        with shared(tmp_path_factory, f"coreai-{precision}") as folder:
            path = folder / "small.aimodel"
            if not path.exists():
                export_model(network, path, input_size=SIZE, precision=precision, distance="cosine")
        return path

    return converted


@pytest.mark.nightly
@needs_environment
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_gives_what_pytorch_gives_and_swapped_channels_do_not(
    precision: str, export: Callable[[str], Path], network: nn.Module, tinted: Callable[..., np.ndarray]
) -> None:
    images, (_, least) = tinted(12, *SIZE, first=1000), PRECISIONS[precision]
    swapped = np.ascontiguousarray(images[..., ::-1])
    done = execute(RUNTIME, export(precision), {"right": images, "swapped": swapped})
    assert done.failure is None, done.failure
    assert done.outputs is not None
    wanted = reference(network, images)
    assert np.linalg.norm(done.outputs["right"], axis=1) == pytest.approx(np.ones(len(images)), abs=1e-5)
    assert min_cosine(done.outputs["right"], wanted) >= least
    assert min_cosine(done.outputs["swapped"], wanted) < 0.99
    assert done.version == RUNTIME.version() == "coreai-core 1.0.0b3"


@pytest.mark.nightly
@needs_environment
def test_the_types_are_those_of_the_precision_and_half_takes_half(export: Callable[[str], Path]) -> None:
    for precision, (kind, _) in PRECISIONS.items():
        found = CoreAI(precision=precision).inspect(export(precision)).weighted  # type: ignore[arg-type]
        assert len(found) >= 20
        kinds = {(each.kind.weights, each.kind.operand, each.kind.activations) for each in found}
        assert kinds == {(kind, kind, kind)}
    assert artifact_bytes(export("fp16")) < 0.7 * artifact_bytes(export("fp32"))


@pytest.mark.nightly
@needs_environment
def test_another_process_writes_the_same_bytes_and_nothing_about_the_machine(
    export: Callable[[str], Path], network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    second = export_model(network, tmp_path / "deep" / "small.aimodel", input_size=SIZE, distance="cosine")
    assert artifact_sha256(second) == artifact_sha256(export("fp32"))
    content = b"".join(file.read_bytes() for file in second.iterdir())
    assert not [path for path in machine_paths(tmp_path) if path in content]


@pytest.mark.nightly
@needs_environment
def test_what_the_package_tells(export: Callable[[str], Path]) -> None:
    found = read_metadata(export("fp32"), "coreai")
    assert (found["name"], found["input"], found["embedding_dim"]) == ("small", "uint8 RGB 32x48", 128)
    about = json.loads((export("fp32") / "metadata.json").read_text(encoding="utf-8"))
    assert "creationDate" not in about


def test_a_missing_environment_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPRESS_COREAI_PYTHON")
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(MissingTool, match=r"export to coreai: COMPRESS_COREAI_PYTHON names no .* 'make coreai'"):
        export_model(network, tmp_path / "m.aimodel", input_size=8)
    assert not list(tmp_path.iterdir())
