"""Modules that torch.fx cannot look into are one node, and networks that choose by values are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from compress.contracts import BadInput
from compress.stages.prune import prune_model
from compress.system.tracing import has_whole_modules, require_no_choices, trace
from exporters import export_model
from tests.exporters._runners import reference, run


class BySize(nn.Module):
    """Its control flow depends on sizes, which a file fixes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(x if x.shape[2] < x.shape[3] else x.flip(2))
        return found


class ByValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else -x


def network(block: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    inside = nn.Sequential(nn.ReLU(), block)
    return nn.Sequential(nn.Conv2d(3, 8, 3), inside, nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.parametrize(("block", "whole"), [(nn.Conv2d(8, 8, 3), 0), (BySize(), 1), (ByValue(), 1)])
def test_only_what_cannot_be_recorded_stays_whole(block: nn.Module, whole: int) -> None:
    of = network(block)
    graph = fx.GraphModule(*trace(of))
    assert has_whole_modules(graph) == bool(whole)
    assert sum(
        type(graph.get_submodule(str(n.target))) is nn.Conv2d for n in graph.graph.nodes if n.op == "call_module"
    )
    image = torch.rand(2, 3, 16, 20)
    torch.testing.assert_close(graph(image), of(image))


def test_choices_by_value_are_found_and_choices_by_size_are_none() -> None:
    image = torch.rand(1, 3, 16, 20)
    require_no_choices(network(BySize()), image)
    with pytest.raises(Exception, match=r"(?i)data-dependent|control flow|branch"):
        require_no_choices(network(ByValue()), image)


def test_the_networks_own_code_cannot_stay_whole() -> None:
    with pytest.raises(Exception, match="symbolically traced"):
        trace(ByValue())


@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
def test_choices_by_size_are_exported_exactly(suffix: str, tinted: Callable[..., np.ndarray], tmp_path: Path) -> None:
    of, images = network(BySize()), tinted(4, 24, 16)
    found = run(export_model(of, tmp_path / f"m{suffix}", input_size=(24, 16)), images)
    np.testing.assert_allclose(found, reference(of, images), rtol=1e-4, atol=1e-5)


def test_choices_by_value_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"neither torch\.fx nor torch\.export can trace it .*depends on tensor values$"):
        export_model(network(ByValue()), tmp_path / "m.onnx", input_size=(24, 16))
    assert not list(tmp_path.iterdir())


def test_pruning_keeps_what_a_whole_module_reads() -> None:
    of, image = network(BySize()), torch.zeros(1, 3, 24, 16)
    small = prune_model(of, image, 0.3)
    assert small[0].out_channels == 8
    assert small(image).shape == of(image).shape
