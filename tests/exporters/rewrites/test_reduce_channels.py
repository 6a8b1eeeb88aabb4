"""Reductions over channels, written otherwise, give what they gave, and other reductions stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from exporters._costs import ONNXRUNTIME, XNNPACK
from exporters.rewrites.reduce_channels import ReduceChannels
from tests.exporters.rewrites._networks import TOLERANCE, Only, difference, rewritten


class _Reduced(nn.Module):
    def __init__(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.reduce = reduce

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reduce(x)


def _images(channels: int = 12, *size: int) -> torch.Tensor:
    return torch.randn(3, channels, *(size or (30, 41)), generator=torch.Generator().manual_seed(0)) - 3


@pytest.mark.parametrize("size", [(30, 41), (7, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3, 32])
@pytest.mark.parametrize(
    ("form", "reduce"),
    [
        pytest.param("product", lambda x: x.mean(1, keepdim=True), id="mean"),
        pytest.param("product", lambda x: torch.mean(x, dim=(-3,), keepdim=True), id="mean by function"),
        pytest.param("pooled", lambda x: x.amax(1, keepdim=True), id="amax"),
    ],
)
def test_every_size(
    form: str, reduce: Callable[[torch.Tensor], torch.Tensor], channels: int, size: tuple[int, int]
) -> None:
    only = Only(ReduceChannels(ONNXRUNTIME), form)
    x = _images(channels, *size)
    changed = rewritten(_Reduced(reduce), x[:1], [only])
    assert only.count == 1
    assert difference(_Reduced(reduce), changed, x) < TOLERANCE


def test_another_weight_would_be_seen() -> None:
    network = _Reduced(lambda x: x.mean(1, keepdim=True))
    changed = rewritten(network, _images()[:1], [Only(ReduceChannels(ONNXRUNTIME), "product")])
    changed.get_buffer("reduced.weight")[0, 0, 5] = 0
    assert difference(network, changed, _images()) > 0.01


@pytest.mark.parametrize(
    "reduce",
    [
        pytest.param(lambda x: x.mean((2, 3), keepdim=True), id="over positions"),
        pytest.param(lambda x: x.mean(1), id="axis dropped"),
        pytest.param(lambda x: x.amax((1, 2), keepdim=True), id="two axes"),
        pytest.param(lambda x: x.mean(1, keepdim=True, dtype=torch.float64), id="another type"),
        pytest.param(lambda x: x.flatten(2).mean(1, keepdim=True), id="no map"),
    ],
)
def test_other_reductions_stay(reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
    rewrite = Only(ReduceChannels(ONNXRUNTIME), "product")
    rewritten(_Reduced(reduce), _images(), [rewrite])
    assert rewrite.count == 0


def test_small_maps_keep_their_maximum_and_other_runtimes_all() -> None:
    network = _Reduced(lambda x: x.amax(1, keepdim=True) + x.mean(1, keepdim=True))
    for costs, size, count in ((ONNXRUNTIME, (30, 41), 2), (ONNXRUNTIME, (7, 7), 1), (XNNPACK, (30, 41), 0)):
        changed = rewritten(network, _images(12, *size), [ReduceChannels(costs)])
        assert len(list(changed.children())) == count
