"""ExecuTorch files: what they compute, store and tell, and how much of them XNNPACK computes.

One small network stands for all, because a conversion takes ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from architectures import create_model
from compress.contracts import DeployGraph, MissingTool, Preprocess
from exporters import export_model
from exporters._deploy import Deployed, optimized
from exporters._executorch_stored import stored
from exporters._stored import Kind
from exporters.executorch import ExecuTorch
from exporters.onnx import Onnx
from tests._once import shared
from tests.exporters._runners import min_cosine, reference
from tests.exporters.test_reproducible import machine_paths
from validators import runtime_named
from validators.executorch_environment import EXECUTORCH_PYTHON
from validators.file_metadata import read_metadata
from validators.isolation import execute
from validators.pte_file import Kernel, calls, operations

SIZE = (32, 48)
FLOAT, INTEGER = Kind("float32", "float32", "float32"), Kind("int8", "int8", "int8")
RUNTIME = runtime_named("executorch")

needs_environment = pytest.mark.skipif(
    not Path(EXECUTORCH_PYTHON.interpreter() or "missing").exists(), reason="'make executorch' makes the environment"
)


@pytest.fixture(scope="module")
def network(calibrate: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return calibrate(create_model("alnet", widths=(16, 24), strides=(2, 2), expansions=(1, 3), head_width=128), *SIZE)


@pytest.fixture(scope="module")
def export(
    network: nn.Module, tinted: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """export(precision) -> the network in that precision; converted once."""

    def converted(precision: str) -> Path:
        with shared(tmp_path_factory, f"executorch-{precision}") as folder:
            path = folder / "small.pte"
            if not path.exists() and precision == "fp32":
                export_model(network, path, input_size=SIZE, distance="cosine")
            elif not path.exists():  # without training, integers are too coarse for the check of two images
                graph = DeployGraph(Deployed(network, Preprocess(SIZE), "cosine"), SIZE, {}, tinted(64, *SIZE))
                ExecuTorch(precision="w8a8").write_unchecked(graph, path)
        return path

    return converted


@pytest.fixture(scope="module")
def images(tinted: Callable[..., np.ndarray]) -> np.ndarray:
    return tinted(12, *SIZE, first=1000)


@pytest.mark.nightly
@needs_environment
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("w8a8", 0.9)])
def test_it_gives_what_pytorch_gives_and_swapped_channels_do_not(
    precision: str, least: float, export: Callable[[str], Path], network: nn.Module, images: np.ndarray
) -> None:
    path, swapped = export(precision), np.ascontiguousarray(images[..., ::-1])
    done = execute(RUNTIME, path, {"right": images, "swapped": swapped})
    assert done.failure is None, done.failure
    assert done.outputs is not None and done.acceleration is not None
    wanted = reference(network, images)
    assert np.linalg.norm(done.outputs["right"], axis=1) == pytest.approx(np.ones(len(images)), abs=1e-5)
    assert min_cosine(done.outputs["right"], wanted) >= least
    assert min_cosine(done.outputs["swapped"], wanted) < least - 0.01
    assert done.acceleration.share > 0.95


@pytest.mark.nightly
@needs_environment
def test_xnnpack_computes_all_but_the_cast_and_the_length_of_the_embedding(
    export: Callable[[str], Path],
) -> None:
    delegated, own = operations(export("fp32").read_bytes(), "forward")
    assert delegated > 50
    assert own == {"aten::_to_copy": 1, "aten::pow": 2, "aten::sum": 1, "aten::expand_copy": 1}


@pytest.mark.nightly
@needs_environment
def test_the_types_are_those_of_the_precision_and_equal_weights_are_there_once(export: Callable[[str], Path]) -> None:
    for precision, kind in (("fp32", FLOAT), ("w8a8", INTEGER)):
        found = stored(export(precision).read_bytes())
        assert len(found) >= 20
        assert {each.kind for each in found} == {kind}
        assert len({each.name for each in found}) == len(found) - 4  # each attention's perceptron reads twice
    assert sum(each.values for each in found) > 10_000


@pytest.mark.nightly
@needs_environment
def test_what_the_file_tells(export: Callable[[str], Path]) -> None:
    found = read_metadata(export("fp32"), "executorch")
    assert (found["name"], found["input"], found["embedding_dim"]) == ("small", "uint8 RGB 32x48", 128)
    assert "reduction:" in found["rewrites"]


@pytest.mark.nightly
@needs_environment
def test_another_process_writes_the_same_bytes_and_nothing_about_the_machine(
    export: Callable[[str], Path], network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export("fp32")
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    second = export_model(network, tmp_path / "deep" / "small.pte", input_size=SIZE, distance="cosine")
    content = second.read_bytes()
    assert content == first.read_bytes()
    assert not [path for path in (*machine_paths(tmp_path), str(first.parent).encode()) if path in content]


@pytest.mark.nightly
@needs_environment
def test_the_unchanged_network_would_leave_the_attention_to_slow_kernels(tmp_path: Path) -> None:
    """The control of the rewrite: otherwise XNNPACK takes neither maxima nor the mean over channels."""
    attention = nn.Sequential(nn.Conv2d(3, 8, 3), _Attention())
    deployed = Deployed(attention, Preprocess((8, 8)), "l2")
    ExecuTorch(optimize="none").write(DeployGraph(deployed, (8, 8), {}), tmp_path / "plain.pte")
    found = [call.name for call in calls((tmp_path / "plain.pte").read_bytes(), "forward") if isinstance(call, Kernel)]
    assert sorted(found) == ["aten::_to_copy", "aten::amax", "aten::amax", "aten::mean"]
    rewritten = optimized(DeployGraph(deployed, (8, 8), {}), ExecuTorch())
    assert "amax" not in {str(node.target) for node in rewritten.module.graph.nodes}  # type: ignore[union-attr]
    names = [name for name, _ in rewritten.module.named_children() if name.startswith("reduced")]
    assert names == ["reduced", "reduced_1", "reduced_2"]


class _Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spatial = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return torch.cat([x.amax((2, 3), keepdim=True), spatial.mean((2, 3), keepdim=True)], dim=1).flatten(1)


def test_a_missing_environment_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for interpreter, words in (("", "names no interpreter"), (str(tmp_path / "python"), "does not run in")):
        monkeypatch.setenv("COMPRESS_EXECUTORCH_PYTHON", interpreter)
        with pytest.raises(MissingTool, match=f"export to executorch: .*{words}.*make executorch"):
            export_model(network, tmp_path / "m.pte", input_size=8)
        assert runtime_named("executorch").unavailable() is not None
    assert not list(tmp_path.iterdir())
    assert Onnx().unavailable() is None
