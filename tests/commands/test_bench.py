"""Every artifact is timed on every runtime that runs here; what cannot be timed says why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.commands import bench as module
from compress.commands.bench import Timing, bench
from compress.contracts import BadInput, MissingTool
from tests._command import compress
from tests.conftest import Finished
from validators.operators import operators
from validators.runtimes.onnxruntime import OnnxRuntime


@pytest.fixture(scope="module", autouse=True)
def _few_runs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROUNDS", 1)
        patch.setattr(module, "WARM_UP", 1)
        patch.setattr(module, "TIMED", 5)
        yield


@pytest.fixture(scope="module")
def profiled(finished: Finished, _few_runs: None) -> list[Timing]:
    return bench(finished.folder, profile=True)


@pytest.mark.nightly
def test_each_artifact_is_timed_on_its_runtimes(profiled: list[Timing]) -> None:
    timings = {(Path(t.path).suffix, t.runtime): t for t in profiled}
    for pair in ((".pt", "torchscript"), (".ptl", "torchscript_lite"), (".onnx", "onnxruntime"), (".tflite", "litert")):
        timing = timings[pair]
        assert timing.reason is None
        assert 0 < timing.median <= timing.p95
        assert timing.peak_bytes > 10_000_000


def test_one_runtime_alone(finished: Finished) -> None:
    (timing,) = bench(finished.folder, "onnxruntime", threads=2)
    assert (timing.runtime, timing.path) == ("onnxruntime", "artifacts/tiny.fp32.onnx")


@pytest.mark.nightly
def test_an_artifact_that_does_not_run_is_named_and_the_others_are_timed(finished: Finished, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(finished.folder, bundle, ignore=shutil.ignore_patterns(".compress"))
    (bundle / "artifacts/tiny.fp32.onnx").write_bytes(b"no model")
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["artifacts"] = [each for each in manifest["artifacts"] if each["format"] in ("onnx", "tflite")]
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    timings = {t.runtime: t for t in bench(bundle)}
    assert timings["onnxruntime"].reason is not None
    assert timings["litert"].reason is None


def test_the_command_prints_a_table(finished: Finished) -> None:
    ended = compress("bench", finished.folder, "--runtime", "onnxruntime", "--profile")
    assert ended.code == 0, ended.stderr
    assert "by operator" in ended.stdout
    assert "tiny.fp32.onnx" in ended.stdout
    assert " ms" in ended.stdout


@pytest.mark.nightly
def test_a_profile_names_the_operators_of_the_file_and_accounts_for_its_time(
    finished: Finished, profiled: list[Timing]
) -> None:
    timings = {t.runtime: t for t in profiled}
    onnx_ = timings["onnxruntime"].operators
    assert onnx_ is not None and not isinstance(onnx_, str)
    written = onnxruntime_operators(finished.folder / timings["onnxruntime"].path)
    # ONNX Runtime fuses and reorders, but what it computes most of stays a convolution.
    assert any("Conv" in each.operator for each in onnx_) and "Conv" in written
    torchscript = timings["torchscript"].operators
    assert torchscript is not None and not isinstance(torchscript, str)
    assert any("conv" in each.operator for each in torchscript)
    for found in (onnx_, torchscript):
        assert [each.milliseconds for each in found] == sorted((each.milliseconds for each in found), reverse=True)
        assert all(each.uses >= 1 for each in found)
    assert timings["litert"].operators == "ai-edge-litert offers no profile by operator in Python"


def onnxruntime_operators(file: Path) -> set[str]:
    return {node.op_type for node in onnx.load(file).graph.node}


def test_a_profile_counts_each_use_once(tmp_path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["image"], ["x0"], to=kind.FLOAT),
        *(helper.make_node("Softmax", [f"x{i}"], [f"x{i + 1}"], axis=2) for i in range(3)),
        helper.make_node("ReduceMean", ["x3", "axes"], ["embedding"], keepdims=0),
    ]
    axes = helper.make_tensor("axes", kind.INT64, [2], [2, 3])
    ends = (
        [helper.make_tensor_value_info("image", kind.UINT8, ["N", 3, 256, 256])],
        [helper.make_tensor_value_info("embedding", kind.FLOAT, ["N", 3])],
    )
    graph = helper.make_graph(nodes, "three", *ends, [axes])
    file = tmp_path / "three.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), file)
    found = operators(OnnxRuntime(), file, np.zeros((1, 256, 256, 3), np.uint8), 1)
    assert not isinstance(found, str)
    assert {each.operator: each.uses for each in found} == {"Softmax": 3, "Cast": 1, "ReduceMean": 1}
    assert found[0].operator == "Softmax"


def test_a_file_that_cannot_be_profiled_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    found = operators(OnnxRuntime(), tmp_path / "broken.onnx", np.zeros((1, 8, 8, 3), np.uint8), 1)
    assert isinstance(found, str) and found.startswith("the profile failed: InvalidProtobuf: ")


def test_memory_is_the_childs_own_however_much_its_parent_holds() -> None:
    ballast = np.ones(100_000_000)  # 800 MB
    command = [sys.executable, "-c", "from validators.child import peak_bytes; print(peak_bytes())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 5_000_000 < int(done.stdout) < ballast.nbytes / 2


def test_bad_input_is_refused(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--threads 0"):
        bench(finished.folder, threads=0)
    with pytest.raises(BadInput, match="did you mean 'onnxruntime'"):
        bench(finished.folder, "onnxruntim")
    with pytest.raises(BadInput, match=r"bundle\.json"):
        bench(tmp_path)
    with pytest.raises(MissingTool, match="not installed"):
        bench(finished.folder, "tensorflow_lite")
