"""Both kinds of install, made in a child process: operators that do not load, and operators that are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

MISMATCHED = """
import torch
def fail(path): raise OSError("built for another torch")
torch.ops.load_library = fail
"""

MATCHED = """
import torch
from torch import library
native = library.Library("torchvision", "DEF")
native.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
native.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
native.impl("nms", lambda dets, scores, iou_threshold: torch.tensor([7]), "CPU")
def fail(path): raise OSError("the operators above stand for the library")
torch.ops.load_library = fail
"""

USE = """
from compress.system import torchvision as torchvision_compat
torchvision = torchvision_compat.import_torchvision()
assert torchvision_compat.import_torchvision() is torchvision
from torchvision import datasets, models, transforms
from torchvision.transforms import v2
import torch
out = models.mobilenet_v2(num_classes=3).eval()(torch.zeros(1, 3, 32, 32))
assert out.shape == (1, 3), out.shape
"""


def child(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_plain_import_fails_without_operators() -> None:
    result = child(MISMATCHED + "import torchvision")
    assert result.returncode != 0
    assert "operator torchvision::nms does not exist" in result.stderr


def test_declares_the_schemas_where_the_operators_do_not_load() -> None:
    result = child(MISMATCHED + USE + "assert torchvision_compat._declared is not None")
    assert result.returncode == 0, result.stderr


@pytest.mark.nightly
def test_declares_nothing_where_the_plain_import_works() -> None:
    code = MATCHED + USE + "assert torchvision_compat._declared is None\n"
    code += "assert torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5).item() == 7"
    result = child(code)
    assert result.returncode == 0, result.stderr


def test_other_failures_of_the_import_are_not_hidden() -> None:
    result = child(
        "import sys; sys.modules['torchvision'] = None\n"
        "from compress.system.torchvision import import_torchvision\n"
        "import_torchvision()"
    )
    assert result.returncode != 0
    assert "ModuleNotFoundError" in result.stderr
