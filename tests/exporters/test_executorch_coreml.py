"""ExecuTorch files for Core ML: what their program computes, and what they hold. Only Apple's devices execute them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from architectures import create_model
from exporters import export_model
from exporters.executorch_coreml import ExecuTorchCoreML
from tests.exporters._runners import min_cosine, reference
from tests.exporters.test_executorch import EXECUTORCH_PYTHON, SIZE, needs_environment
from tests.exporters.test_reproducible import machine_paths
from validators import choose_runtime, format_of, suffix_of
from validators.file_metadata import read_metadata
from validators.isolation import execute
from validators.pte_coreml import PACKAGE, packed, unpack
from validators.pte_file import Delegated, calls

UNFLATTEN = (
    "import sys; from executorch.backends.apple.coreml import executorchcoreml as e; data = open(sys.argv[1], 'rb')"
)
UNFLATTEN += "; assert e.unflatten_directory_contents(data.read(), sys.argv[2])"


@pytest.mark.nightly
@needs_environment
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_its_program_gives_what_pytorch_gives_and_swapped_channels_do_not(
    precision: str,
    calibrate: Callable[..., torch.nn.Module],
    tinted: Callable[..., np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = create_model("alnet", widths=(16, 24), strides=(2, 2), expansions=(1, 3), head_width=128)
    network, images = calibrate(network, *SIZE), tinted(12, *SIZE, first=1000)
    first, second = tmp_path / "small.coreml.pte", tmp_path / "deep" / "small.coreml.pte"
    for number, path in enumerate((first, second)):
        monkeypatch.setenv("PYTHONHASHSEED", f"{number}")
        export_model(network, path, input_size=SIZE, precision=precision, distance="cosine")
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert not [each for each in (*machine_paths(tmp_path), b"conversion_date") if each in content]

    least, runtime = {"fp32": 0.99999, "fp16": 0.999}[precision], choose_runtime("executorch-coreml")
    done = execute(runtime, first, {"right": images, "swapped": np.ascontiguousarray(images[..., ::-1])})
    assert done.outputs is not None, done.failure
    assert min_cosine(done.outputs["right"], reference(network, images)) >= least
    assert min_cosine(done.outputs["swapped"], reference(network, images)) < least - 0.01

    found = ExecuTorchCoreML(precision="fp16").details(first)["stored"]["weights"]
    assert found.keys() == {"float32" if precision == "fp32" else "float16"}
    assert read_metadata(first, "executorch-coreml")["input"] == "uint8 RGB 32x48"

    # ExecuTorch's own reader, which phones use, finds the same files.
    _, part = calls(content, "forward")
    assert isinstance(part, Delegated)
    (tmp_path / "data").write_bytes(part.data)
    (tmp_path / "theirs").mkdir()
    command = [EXECUTORCH_PYTHON.interpreter(), "-c", UNFLATTEN, tmp_path / "data", tmp_path / "theirs"]
    subprocess.run([str(each) for each in command], check=True)
    unpack(part.data, tmp_path / "ours")
    (theirs,) = (tmp_path / "theirs").iterdir()
    assert packed(theirs) == part.data
    assert (tmp_path / "ours" / PACKAGE / "Manifest.json").is_file()
    about = json.loads((tmp_path / "ours/metadata.json").read_text())
    assert set(about) == {"inputNames", "outputNames", "identifier"}


def test_a_suffix_of_two_parts_is_a_format_of_its_own() -> None:
    assert format_of("runs/net.fp16.coreml.pte") == "executorch-coreml"
    assert [suffix_of(name) for name in ("n.fp32.pte", "n.coreml.pte", "n.txt")] == [".pte", ".coreml.pte", ".txt"]


def test_a_folder_comes_back_as_it_was_packed(tmp_path: Path) -> None:
    (tmp_path / "lowered/model/deep").mkdir(parents=True)
    (tmp_path / "lowered/model/deep/b.bin").write_bytes(b"\x00\xff}{")
    (tmp_path / "lowered/a.json").write_text("{}")
    data = packed(tmp_path / "lowered")
    unpack(data, tmp_path / "again")
    assert packed_files(tmp_path / "again") == packed_files(tmp_path / "lowered")


def packed_files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "..", "", "a\\b"])
def test_a_file_that_would_be_written_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    region = {"offset": 0, "size": 1}
    file = {"children": {}, "dataRegion": region, "kind": 0, "name": "x"}
    whole = {"children": {name: 0}, "dataRegion": region, "kind": 1, "name": "whole"}
    for nodes in ([file, whole], [file, {**whole, "children": {"x": 1}}], [{**file, "dataRegion": {"offset": 0}}], []):
        data = b"!" + json.dumps({"nodes": nodes}).encode()[::-1]
        with pytest.raises(ValueError, match=r"lists the file|damaged"):
            unpack(data, tmp_path / f"{len(str(nodes))}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
