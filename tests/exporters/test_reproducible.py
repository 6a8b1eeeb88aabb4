"""The same model gives the same bytes in every process, and no byte tells about the machine.

Of the formats that ``test_pipeline`` makes in three processes, only the machine's traces are looked for here.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import exporters
from architectures import create_model
from compress.system.files import artifact_sha256
from exporters import export_model
from tests.conftest import Finished

FORMATS = [("m.pt", "fp32"), ("q.onnx", "w8a8"), ("q.tflite", "w8a8"), ("q.mlpackage", "p6")]
SIZE = (32, 48)
CHECKOUT = Path(exporters.__file__).parent.parent


def export_all(folder: Path, formats: list[tuple[str, str]], seed: int = 0) -> dict[str, str]:
    """The sha256 of one network in every format, by file name."""
    torch.manual_seed(seed)
    network = create_model("alnet", widths=(16, 24), strides=(2, 2), expansions=(1, 3), head_width=128)
    images = np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3), dtype=np.uint8)
    paths = [
        export_model(
            network,
            folder / name,
            input_size=SIZE,
            precision=precision,
            calibration=images if precision == "w8a8" else None,
        )
        for name, precision in formats
    ]
    return {path.name: artifact_sha256(path) for path in paths}


@pytest.mark.nightly
def test_two_processes_write_the_same_bytes_and_nothing_about_the_machine(tmp_path: Path) -> None:
    """The other one has its own hash seed, folder, working directory and order of formats; one test converts once."""
    script = (
        "import json, pathlib, sys\n"
        "from tests.exporters.test_reproducible import FORMATS, export_all\n"
        "print(json.dumps(export_all(pathlib.Path(sys.argv[1]), FORMATS[::-1])))"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "elsewhere" / "deep")],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(CHECKOUT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    hashes = export_all(tmp_path / "here", FORMATS)
    printed, _ = other.communicate()
    assert json.loads(printed) == hashes
    for name in hashes:
        content = readable(tmp_path / "here" / name)
        assert not {path for path in machine_paths(tmp_path) if path in content}, name


def test_a_finished_runs_artifacts_tell_nothing_about_the_machine(finished: Finished) -> None:
    artifacts = list((finished.folder / "artifacts").iterdir())
    assert len({artifact.suffix for artifact in artifacts}) == 5
    for artifact in artifacts:
        content = readable(artifact)
        assert not {path for path in machine_paths(finished.folder) if path in content}, artifact.name


def test_another_model_gives_other_bytes(tmp_path: Path) -> None:
    first, second = (export_all(tmp_path / str(seed), FORMATS[:1], seed) for seed in (0, 1))
    assert first.items().isdisjoint(second.items())


def test_a_path_would_be_found(tmp_path: Path) -> None:
    """torch.jit.save keeps the source paths of what it traced."""
    network = create_model("alnet", widths=(16,), strides=(2,), expansions=(1,), head_width=64).eval()
    traced = torch.jit.trace(network, torch.zeros(1, 3, *SIZE))
    torch.jit.save(traced, str(tmp_path / "plain.pt"))
    content = readable(tmp_path / "plain.pt")
    assert any(path in content for path in machine_paths(tmp_path))


def readable(artifact: Path) -> bytes:
    """All bytes of a file or a package; an archive's records as they are before compression."""
    if zipfile.is_zipfile(artifact):
        with zipfile.ZipFile(artifact) as archive:
            return b"".join(name.encode() + archive.read(name) for name in archive.namelist())
    files = [artifact] if artifact.is_file() else [file for file in artifact.rglob("*") if file.is_file()]
    return b"".join(file.read_bytes() for file in files)


def machine_paths(folder: Path) -> set[bytes]:
    libraries = (sysconfig.get_path("purelib"), *site.getsitepackages())
    return {str(path).encode() for path in (CHECKOUT, folder, sys.prefix, *libraries, Path.home() / "")}
