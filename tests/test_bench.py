"""Every artifact is timed on every runtime that runs here; what cannot be timed says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compress import bench as module
from compress.bench import bench
from compress.contracts import BadInput, MissingTool
from tests._command import compress
from tests.conftest import Finished


@pytest.fixture(autouse=True)
def _few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", 2)
    monkeypatch.setattr(module, "WARM_UP", 1)
    monkeypatch.setattr(module, "TIMED", 5)


def test_each_artifact_is_timed_on_its_runtimes(finished: Finished) -> None:
    timings = {(Path(t.path).suffix, t.runtime): t for t in bench(finished.folder)}
    for pair in ((".pt", "torchscript"), (".ptl", "torchscript_lite"), (".onnx", "onnxruntime"), (".tflite", "litert")):
        timing = timings[pair]
        assert timing.reason is None
        assert 0 < timing.median <= timing.p95
        assert timing.peak_bytes > 10_000_000


def test_one_runtime_alone(finished: Finished) -> None:
    (timing,) = bench(finished.folder, "onnxruntime", threads=2)
    assert (timing.runtime, timing.path) == ("onnxruntime", "artifacts/tiny.fp32.onnx")


def test_an_artifact_that_does_not_run_is_named_and_the_others_are_timed(finished: Finished, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(finished.folder, bundle, ignore=shutil.ignore_patterns(".compress"))
    (bundle / "artifacts/tiny.fp32.onnx").write_bytes(b"no model")
    timings = {t.runtime: t for t in bench(bundle)}
    assert timings["onnxruntime"].reason is not None
    assert timings["litert"].reason is None


def test_the_command_prints_a_table(finished: Finished) -> None:
    ended = compress("bench", finished.folder, "--runtime", "onnxruntime")
    assert ended.code == 0, ended.stderr
    assert "tiny.fp32.onnx" in ended.stdout
    assert " ms" in ended.stdout


def test_bad_input_is_refused(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--threads 0"):
        bench(finished.folder, threads=0)
    with pytest.raises(BadInput, match="did you mean 'onnxruntime'"):
        bench(finished.folder, "onnxruntim")
    with pytest.raises(BadInput, match=r"bundle\.json"):
        bench(tmp_path)
    with pytest.raises(MissingTool, match="not installed"):
        bench(finished.folder, "tensorflow_lite")
