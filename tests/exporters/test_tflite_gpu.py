"""Files that a GPU would compute wrongly are refused, whatever wrote the convolution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.contracts import CompressError
from exporters import export_model


class Functional(nn.Module):
    """A pointwise convolution by a function that no rewrite sees."""

    def __init__(self, outputs: int, inputs: int, **options: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.options = options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(self.stem(x), self.weight, **self.options).mean((2, 3))


@pytest.mark.nightly
def test_groups_that_no_rewrite_saw_are_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Functional(16, 2, groups=8).eval()
    with pytest.raises(CompressError, match=r"8 groups with 2 channels in and 2 out.*zeros.*optimize: none") as caught:
        export_model(network, tmp_path / "net.tflite", input_size=16)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "net.tflite").exists()
    assert export_model(network, tmp_path / "net.tflite", input_size=16, optimize="none").exists()


@pytest.mark.nightly
def test_strides_that_no_rewrite_saw_are_refused_where_the_weights_are_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = Functional(32, 16, stride=2).eval(), tmp_path / "net.tflite"
    with pytest.raises(CompressError, match=r"1x1 with int8 weights and stride \(2, 2\).*nn.Conv2d") as caught:
        export_model(network, path, input_size=16, precision="w8a32")
    assert "\n" not in str(caught.value)
    assert not path.exists()
    assert export_model(network, path, input_size=16, precision="w8").exists()
    assert export_model(network, path, input_size=16, precision="w8a32", optimize="none").exists()
