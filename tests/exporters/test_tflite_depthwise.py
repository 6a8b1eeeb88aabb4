"""Convolutions of one channel in files with int8 weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from exporters import export_model
from exporters._tflite_depthwise import without_single_channels
from exporters._tflite_file import builtin, read
from tests.validators import _linear
from validators import run_artifact


class OneChannel(nn.Module):
    """The mean over the channels, convolved to 8 channels, beside a depthwise convolution of 4 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.one = nn.Conv2d(1, 8, (3, 2), stride=(2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(self.stem(x)).relu()
        z = self.one(y.mean(1, keepdim=True)).relu()
        return torch.cat([y.mean((2, 3)), z.mean((2, 3))], 1)


def depthwise_channels(content: bytes) -> list[int]:
    """The input channels of every depthwise convolution."""
    model = read(content)
    (graph,) = model.subgraphs
    found = [each for each in graph.operators if builtin(model, each) == schema.BuiltinOperator.DEPTHWISE_CONV_2D]
    return [int(graph.tensors[each.inputs[0]].shape[3]) for each in found]


@pytest.mark.nightly
def test_only_depthwise_convolutions_of_one_channel_are_changed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, images = OneChannel().eval(), _linear.photos(3, 17, 14)
    straight = export_model(network, tmp_path / "fp32.tflite", input_size=(17, 14))
    assert sorted(depthwise_channels(straight.read_bytes())) == [1, 4]
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(without_single_channels(straight.read_bytes()))
    assert depthwise_channels(changed.read_bytes()) == [4]
    wanted = run_artifact(straight, images)
    assert np.abs(run_artifact(changed, images) - wanted).max() <= 1e-6 * np.abs(wanted).max()

    rounded = export_model(network, tmp_path / "w8.tflite", input_size=(17, 14), precision="w8")
    assert depthwise_channels(rounded.read_bytes()) == [4]
    assert np.abs(run_artifact(rounded, images) - wanted).max() <= 0.02 * np.abs(wanted).max()
