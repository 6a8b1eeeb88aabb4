"""Fewer groups with zeros between the old ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from exporters._costs import TORCH
from exporters.rewrites.merge_groups import MergeGroups
from tests.exporters.rewrites._networks import CHEAP_DENSE, CHEAP_MOVES, TOLERANCE, Only, difference, rewritten


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


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 24, 1, groups=8),
        nn.Conv2d(16, 32, 3, 2, 1, groups=16, bias=False),
        nn.Conv2d(24, 16, 3, groups=8, padding=1, padding_mode="reflect"),
    ],
)
def test_parts_of_the_channels(conv: nn.Conv2d, parts: int) -> None:
    network, x = nn.Sequential(conv), torch.randn(2, conv.in_channels, 6, 5)
    only = Only(MergeGroups(replace(CHEAP_MOVES, group_multiple=None)), f"{parts} parts")
    changed = rewritten(network, x, [only])
    if conv.in_channels == conv.groups:
        assert only.count == 0  # a group of one channel is computed in another way
        return
    assert only.count == 1
    convs = [layer for layer in changed.modules() if isinstance(layer, nn.Conv2d)]
    assert [each.groups for each in convs] == [1] * parts
    assert difference(network, changed, x) < TOLERANCE
    first = convs[0].weight.clone()
    convs[0].weight.copy_(convs[1].weight)
    convs[1].weight.copy_(first)
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


@pytest.mark.parametrize(
    ("conv", "groups"),
    [
        (nn.Conv2d(16, 16, 1, groups=8), 4),  # groups of 2 channels become groups of 4
        (nn.Conv2d(24, 24, 1, groups=8), 2),  # of 3 become 12
        (nn.Conv2d(16, 32, 1, groups=8), 4),
        (nn.Conv2d(32, 16, 1, groups=8), 4),
        (nn.Conv2d(30, 60, 1, groups=3), 1),  # of 10: only one group is left
        (nn.Conv2d(16, 16, 3, groups=8, padding=1, bias=False), 4),
        (nn.Conv2d(20, 20, 3, groups=10, stride=2, padding_mode="reflect", padding=1), 5),
    ],
)
def test_groups_that_a_gpu_computes_wrongly_are_merged(conv: nn.Conv2d, groups: int) -> None:
    torch.manual_seed(0)
    costs = replace(CHEAP_MOVES, group_multiple=4)  # by its costs, it keeps all groups that it may
    network = nn.Sequential(conv)
    x = torch.randn(2, conv.in_channels, 6, 5)
    changed = rewritten(network, x, [MergeGroups(costs)])
    merged = changed.get_submodule("0")
    assert isinstance(merged, nn.Conv2d)
    assert merged.groups == groups
    assert difference(network, changed, x) < TOLERANCE
    kept = rewritten(network, x, [MergeGroups(CHEAP_MOVES)]).get_submodule("0")
    assert isinstance(kept, nn.Conv2d)
    assert kept.groups == conv.groups


def test_a_layer_that_is_called_twice_is_merged_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(16, 16, 1, groups=8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv(self.conv(x).relu())
            return y

    torch.manual_seed(0)
    network, x = Twice(), torch.randn(2, 16, 4, 4)
    changed = rewritten(network, x, [MergeGroups(replace(CHEAP_MOVES, group_multiple=4))])
    merged = changed.get_submodule("conv")
    assert isinstance(merged, nn.Conv2d)
    assert merged.groups == 4
    assert difference(network, changed, x) < TOLERANCE


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(32, 64, 3, groups=8),
        nn.Conv2d(15, 15, 3, groups=15),
        nn.Conv2d(16, 32, 3, groups=16),  # depthwise with two outputs per channel
        nn.Conv2d(13, 11, 1),
    ],
)
def test_groups_that_a_gpu_computes_stay(conv: nn.Conv2d) -> None:
    costs = replace(CHEAP_MOVES, group_multiple=4)
    assert not MergeGroups(costs).places(_shaped(nn.Sequential(conv), torch.randn(1, conv.in_channels, 5, 5)))


def _shaped(network: nn.Module, x: torch.Tensor) -> torch.fx.GraphModule:
    from torch.fx.passes.shape_prop import ShapeProp

    from tests.exporters.rewrites._networks import traced

    graph = traced(network)
    ShapeProp(graph).propagate(x)  # type: ignore[no-untyped-call]
    return graph
