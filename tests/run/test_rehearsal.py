"""Networks of foreign code are exported on trial, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.recipe.reader import load_recipe
from compress.run.plan import plan

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, odd=False):
        super().__init__()
        self.odd, self.conv = odd, nn.Conv2d(3, 8, 3)

    def forward(self, x):
        x = self.conv(x)
        return (torch.special.bessel_j1(x) if self.odd else x).mean((2, 3))
"""
RECIPE = """
name: own
data: {{dataset: image_folder, root: photos, image_size: 16}}
model: {{architecture: "./net.py:Net", odd: {odd}}}
train: {{epochs: 1, batch_size: 4, lr: 0.05}}
export: [{{torchscript: {{}}}}, {{onnx: {{}}}}, {{onnx: {{precision: w8a8}}}}]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, save_photos: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    for label in range(2):
        save_photos(tmp_path / "photos" / str(label), label, 10)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def planned(odd: bool) -> list[str]:
    Path("own.yaml").write_text(RECIPE.format(odd=str(odd).lower()), encoding="utf-8")
    return plan(load_recipe(Path("own.yaml")))


def test_an_operation_that_a_converter_lacks_ends_the_run_before_training() -> None:
    with pytest.raises(BadInput, match=r"^export\.1\.onnx: rehearsal\.onnx: the converter to onnx refuses") as error:
        planned(odd=True)
    assert "bessel_j1" in str(error.value)
    assert "\n" not in str(error.value)


def test_each_format_is_tried_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(odd=False)
    assert capsys.readouterr().err.count("rehearsal: ") == 2
