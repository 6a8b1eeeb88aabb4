"""What an app finds in .pt and .ptl archives."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.jit.mobile import _export_operator_list, _get_model_bytecode_version, _load_for_lite_interpreter

from compress.system.files import artifact_sha256
from exporters import export_model
from tests.exporters.conftest import SIZE

both = pytest.mark.parametrize("suffix", [".pt", ".ptl"])


@both
def test_metadata(artifact: Callable[..., Path], suffix: str) -> None:
    extra = {"metadata.json": ""}
    torch.jit.load(artifact(suffix), _extra_files=extra)
    metadata = json.loads(extra["metadata.json"])
    assert (metadata["name"], metadata["license"], metadata["architecture"]) == ("alnet", "CC0-1.0", "ALNet")
    assert (metadata["resize"], metadata["embedding_dim"]) == (list(SIZE), 1280)


@both
def test_pytorch_mobile_knows_the_file_version(artifact: Callable[..., Path], suffix: str) -> None:
    with zipfile.ZipFile(artifact(suffix)) as archive:
        assert archive.read("archive/version").strip() == b"3"


def test_the_lite_interpreter_of_2_1_knows_the_bytecode(artifact: Callable[..., Path]) -> None:
    path = artifact(".ptl")
    assert _get_model_bytecode_version(str(path)) == 8
    operators = _export_operator_list(_load_for_lite_interpreter(str(path)))
    assert operators
    assert {name.partition("::")[0] for name in operators} == {"aten"}


@both
def test_the_network_is_frozen_and_folded(artifact: Callable[..., Path], suffix: str) -> None:
    module = torch.jit.load(artifact(suffix))
    assert not list(module.parameters()) and not list(module.children())
    graph = str(module.graph)
    assert "batch_norm" not in graph
    # 44 layers as trained; the second layer of each of the 6 channel attentions is applied once instead of twice, and
    # the 8 grouped 1x1 convolutions are batched products; each spatial attention convolves its two maps apart.
    assert graph.count("aten::_convolution") == 44 - 6 - 8 + 6
    assert graph.count("aten::matmul") == 8


@both
def test_the_archive_has_no_trace_of_earlier_work(suffix: str, tmp_path: Path) -> None:
    """PyTorch numbers the class names of a process, and names the archive after the file."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    paths = []
    for folder in ("a", "b"):
        paths.append(export_model(network, tmp_path / folder / f"m{suffix}", input_size=16))
        for _ in range(12):  # so that the number has more digits than before
            torch.jit.freeze(torch.jit.trace(network, torch.zeros(1, 3, 16, 16)))
    assert artifact_sha256(paths[0]) == artifact_sha256(paths[1])
    with zipfile.ZipFile(paths[1]) as archive:
        assert not [name for name in archive.namelist() if "mangle" in name or name.endswith(".debug_pkl")]
        assert not [name for name in archive.namelist() if b"mangle" in archive.read(name)]
