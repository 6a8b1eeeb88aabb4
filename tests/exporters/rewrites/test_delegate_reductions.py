"""Reductions written for XNNPACK's delegate give what they gave, and other reductions stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from exporters._costs import EXECUTORCH, XNNPACK
from exporters.rewrites.delegate_reductions import DelegateReductions, MaximumByHalves
from tests.exporters.rewrites._networks import TOLERANCE, Only, difference, rewritten
from tests.exporters.rewrites.test_reduce_channels import _images, _Reduced

Reduce = Callable[[torch.Tensor], torch.Tensor]


@pytest.mark.parametrize("size", [(30, 41), (7, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 2, 3, 7, 24, 160])
@pytest.mark.parametrize(
    "reduce",
    [
        pytest.param(lambda x: x.mean(1, keepdim=True), id="mean"),
        pytest.param(lambda x: x.amax(1, keepdim=True), id="maximum of channels"),
        pytest.param(lambda x: x.amax((2, 3), keepdim=True), id="maximum of positions"),
        pytest.param(lambda x: torch.amax(x, dim=(-1, -2), keepdim=True), id="negative axes"),
    ],
)
def test_every_size(reduce: Reduce, channels: int, size: tuple[int, int]) -> None:
    only = Only(DelegateReductions(EXECUTORCH), "delegated")
    x = _images(channels, *size)
    changed = rewritten(_Reduced(reduce), x[:1], [only])
    assert only.count == 1
    assert difference(_Reduced(reduce), changed, x) < TOLERANCE
    assert not {"mean", "amax"} & {str(node.target) for node in changed.graph.nodes}


def test_a_forgotten_channel_would_be_seen() -> None:
    x = _images(7)
    x[:, 6] += 100
    assert torch.equal(MaximumByHalves(7)(x), x.amax(1, keepdim=True))
    assert not torch.equal(MaximumByHalves(6)(x[:, :6]), x.amax(1, keepdim=True))


@pytest.mark.parametrize(
    "reduce",
    [
        pytest.param(lambda x: x.mean((2, 3), keepdim=True), id="mean of positions, which XNNPACK takes"),
        pytest.param(lambda x: x.amax(1), id="axis dropped"),
        pytest.param(lambda x: x.amax((1, 2), keepdim=True), id="two axes"),
        pytest.param(lambda x: x.mean(1, keepdim=True, dtype=torch.float64), id="another type"),
        pytest.param(lambda x: x.flatten(2).amax(1, keepdim=True), id="no map"),
    ],
)
def test_other_reductions_stay(reduce: Reduce) -> None:
    rewrite = Only(DelegateReductions(EXECUTORCH), "delegated")
    rewritten(_Reduced(reduce), _images(), [rewrite])
    assert rewrite.count == 0


def test_other_runtimes_keep_all() -> None:
    network = _Reduced(lambda x: x.amax(1, keepdim=True) + x.mean(1, keepdim=True))
    for costs, count in ((EXECUTORCH, 2), (XNNPACK, 0)):
        assert len(list(rewritten(network, _images(), [DelegateReductions(costs)]).children())) == count
