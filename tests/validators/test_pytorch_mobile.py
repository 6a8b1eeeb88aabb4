"""Files that PyTorch Mobile 2.1 would refuse are named, and those written here are not."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.contracts import MissingTool
from exporters import export_model
from validators.pytorch_mobile import described, inspect


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    folder = tmp_path_factory.mktemp("mobile")
    return lambda suffix: export_model(network.eval(), folder / f"net{suffix}", input_size=16)


def rewrite(path: Path, out: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return out


@pytest.mark.parametrize(("suffix", "lite"), [(".pt", False), (".ptl", True)])
def test_our_files_load(written: Callable[[str], Path], suffix: str, lite: bool) -> None:
    found = inspect(written(suffix), lite=lite)
    assert found.problems == ()
    assert found.file_version == 3
    assert found.bytecode_version == (8 if lite else None)
    assert {"aten::_convolution", "aten::hardtanh_", "aten::adaptive_avg_pool2d"} <= set(found.operators)


def test_the_operators_are_those_pytorch_lists(written: Callable[[str], Path]) -> None:
    from torch.jit.mobile import _get_model_bytecode_version, _get_model_ops_and_info

    path = written(".ptl")
    found = inspect(path, lite=True)
    listed = {name.partition(".")[0] for name in _get_model_ops_and_info(str(path))}
    assert set(found.operators) == listed
    assert found.bytecode_version == _get_model_bytecode_version(str(path))


def test_prepacked_operators_are_named(written: Callable[[str], Path], tmp_path: Path) -> None:
    def prepack(name: str, content: bytes) -> bytes:
        return content.replace(b"torch.hardtanh_(", b"ops.prepacked.conv2d_clamp_run(") if ".py" in name else content

    found = inspect(rewrite(written(".pt"), tmp_path / "prepacked.pt", prepack), lite=False)
    assert found.problems == ("operators that not every build of PyTorch Mobile has: prepacked::conv2d_clamp_run",)


def test_foreign_operators_in_bytecode_are_named(tmp_path: Path) -> None:
    module = torch.jit.trace(nn.Linear(4, 4).eval(), torch.zeros(1, 4))
    path = tmp_path / "linear.ptl"
    module._save_for_lite_interpreter(str(path))

    def prepack(name: str, content: bytes) -> bytes:
        return content.replace(b"aten::linear", b"xnnp::linear") if name.endswith("bytecode.pkl") else content

    (problem,) = inspect(rewrite(path, tmp_path / "other.ptl", prepack), lite=True).problems
    assert "xnnp::linear" in problem


@pytest.mark.parametrize(
    ("record", "content", "words"),
    [("archive/version", b"11\n", "file version 11"), ("archive/version", b"new", "no readable TorchScript archive")],
)
def test_a_newer_or_damaged_file_is_named(
    written: Callable[[str], Path], tmp_path: Path, record: str, content: bytes, words: str
) -> None:
    path = rewrite(written(".ptl"), tmp_path / "n.ptl", lambda name, old: content if name == record else old)
    (problem,) = inspect(path, lite=True).problems
    assert words in problem


def test_a_full_torchscript_file_is_no_lite_one(written: Callable[[str], Path], tmp_path: Path) -> None:
    assert inspect(written(".pt"), lite=True).problems == ("no bytecode for the lite interpreter",)
    (tmp_path / "text.ptl").write_text("no archive")
    (problem,) = inspect(tmp_path / "text.ptl", lite=True).problems
    assert "no readable TorchScript archive" in problem


def test_reading_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "ran"),))

    import pickle

    path = tmp_path / "evil.ptl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/bytecode.pkl", pickle.dumps((8, Evil())))
    assert inspect(path, lite=True).problems
    assert not (tmp_path / "ran").exists()


def test_a_bundles_entry_is_read_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/version", "3")
        archive.writestr("net/code/net.py", "x = torch.relu(x)")
    monkeypatch.setattr("validators.pytorch_mobile.inspect", lambda *_, **__: pytest.fail("read in this process"))
    found = {"file_version": 3, "bytecode_version": None, "operators": ["aten::relu"], "problems": []}
    assert described(path, "torchscript") == {"pytorch_mobile": found}
    assert described(path, "onnx") == {}


def aborting(job: Mapping[str, Any], scratch: Path) -> None:
    os.abort()


def starving(job: Mapping[str, Any], scratch: Path) -> None:
    raise MemoryError


@pytest.mark.nightly
def test_an_end_of_the_child_is_the_files_problem_and_a_lack_of_memory_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("validators.pytorch_mobile._inspected", aborting)
    (problem,) = described(tmp_path / "net.pt", "torchscript")["pytorch_mobile"]["problems"]
    assert problem.startswith("no readable TorchScript archive (was killed by SIGABRT")
    monkeypatch.setattr("validators.pytorch_mobile._inspected", starving)
    with pytest.raises(MissingTool, match=r"^reading .*net\.pt failed: MemoryError"):
        described(tmp_path / "net.pt", "torchscript")
