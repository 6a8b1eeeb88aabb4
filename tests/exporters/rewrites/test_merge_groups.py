"""Fewer groups with zeros between the old ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporters._costs import TORCH
from exporters.rewrites.merge_groups import MergeGroups
from tests.exporters.rewrites._networks import CHEAP_DENSE, TOLERANCE, Only, difference, rewritten


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("bias", [True, False])
def test_any_number_of_groups(groups: int, bias: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(24, 36, 1, groups=12, bias=bias))
    x = torch.randn(2, 24, 3, 5)
    merge = Only(MergeGroups(CHEAP_DENSE), f"{groups} groups")
    changed = rewritten(network, x, [merge])
    assert merge.count == 1
    conv = changed.get_submodule("0")
    assert isinstance(conv, nn.Conv2d) and conv.groups == groups
    assert difference(network, changed, x) < TOLERANCE


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_of_matrices_for_each_group(bias: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(24, 36, 1, groups=12, bias=bias))
    x = torch.randn(2, 24, 3, 5)
    batched = Only(MergeGroups(TORCH), "batched")
    changed = rewritten(network, x[:1], [batched])
    assert batched.count == 1 and not isinstance(changed.get_submodule("0"), nn.Conv2d)
    assert difference(network, changed, x) < TOLERANCE
    weight = changed.get_submodule("0").weight
    weight.copy_(weight.flip(0))  # the groups in another order
    assert difference(network, changed, x) > 0.01


def test_a_plain_reshape_of_the_weights_would_be_seen() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(24, 36, 1, groups=12))
    wrong = nn.Sequential(nn.Conv2d(24, 36, 1, groups=6))
    with torch.no_grad():
        wrong[0].weight.copy_(network[0].weight.repeat(1, 2, 1, 1))  # type: ignore[union-attr, operator]
        wrong[0].bias.copy_(network[0].bias)  # type: ignore[union-attr, operator, arg-type]
    assert difference(network, wrong, torch.randn(2, 24, 3, 5)) > 0.01


@pytest.mark.parametrize("conv", [nn.Conv2d(8, 8, 1, groups=8), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 8, 1)])
def test_other_convolutions_stay(conv: nn.Conv2d) -> None:
    assert not MergeGroups(CHEAP_DENSE).places(_shaped(nn.Sequential(conv), torch.randn(1, 8, 5, 5)))


def _shaped(network: nn.Module, x: torch.Tensor) -> torch.fx.GraphModule:
    from torch.fx.passes.shape_prop import ShapeProp

    from tests.exporters.rewrites._networks import traced

    graph = traced(network)
    ShapeProp(graph).propagate(x)  # type: ignore[no-untyped-call]
    return graph
