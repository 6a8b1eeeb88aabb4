"""Dead channels found by hand on both sides of a channel shuffle, without any of the tracer's help."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_pruning
from torch import nn

from architectures.layers.blocks import ChannelPermutation, ChannelShuffle
from architectures.layers.cbam import SpatialAttention
from compress.pruning.bundles import make_bundles
from compress.pruning.plan import prunable
from compress.stages.prune import prune_model
from tests.pruning.conftest import kill

GROUPS, BLOCK = 8, 3
PER_GROUP = 24
"""Hidden channels of each group in the fourth block of ALNet: 192 in all."""


@pytest.fixture(scope="module")
def whole(network: Callable[..., Any]) -> Any:
    return network("alnet")


@pytest.fixture(scope="module")
def places() -> list[tuple[int, int]]:
    """One random dead channel for each pair of a first and a second group: (first group, number in it)."""
    generator = torch.Generator().manual_seed(3)
    share = PER_GROUP // GROUPS
    return [(i, share * b + int(torch.randint(share, (), generator=generator))) for i in range(8) for b in range(8)]


@pytest.fixture(scope="module")
def masked(whole: Any, places: list[tuple[int, int]]) -> Any:
    """Channel ``j`` of group ``i`` is row ``24 i + j`` before the shuffle and row ``8 j + i`` after it."""
    dead = copy.deepcopy(whole)
    block = dead.blocks[BLOCK]
    for layer in block[0][:2]:
        kill(layer, [PER_GROUP * i + j for i, j in places])
    for layer in block[2][:2]:
        kill(layer, [GROUPS * j + i for i, j in places])
    return dead


def difference(one: nn.Module, other: nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad():
        return float((one(images) - other(images)).abs().max())


def test_hidden_channels_are_cut_where_the_shuffle_takes_them(
    whole: Any, masked: Any, places: list[tuple[int, int]], pictures: torch.Tensor
) -> None:
    images = pictures[:4]
    small: Any = prune_model(masked, images, len(places) / prunable(masked, images).width())
    assert difference(small, masked, images) <= 1e-5 < 0.01 < difference(whole, masked, images)
    block = small.blocks[BLOCK]
    assert block[0][0].weight.shape == (128, 4, 1, 1)
    assert (block[2][0].groups, block[2][0].weight.shape) == (128, (128, 1, 3, 3))
    assert (block[3][0].groups, block[3][0].weight.shape) == (8, (64, 16, 1, 1))
    others = [name for name, module in small.named_modules() if isinstance(module, ChannelPermutation)]
    assert others == [f"blocks.{BLOCK}.1"]


def test_control_torch_pruning_takes_the_shuffle_for_the_identity(
    masked: Any, places: list[tuple[int, int]], pictures: torch.Tensor
) -> None:
    images = pictures[:4]
    theirs = copy.deepcopy(masked)
    graph = torch_pruning.DependencyGraph().build_dependency(theirs, example_inputs=images)
    rows = sorted(PER_GROUP * i + j for i, j in places)
    graph.get_pruning_group(theirs.blocks[BLOCK][0][0], torch_pruning.prune_conv_out_channels, idxs=rows).prune()
    assert theirs.blocks[BLOCK][3][0].weight.shape == (64, 16, 1, 1)  # it did cut as many
    assert difference(theirs, masked, images) > 0.01


def test_control_another_permutation_is_noticed(
    masked: Any, places: list[tuple[int, int]], pictures: torch.Tensor
) -> None:
    images = pictures[:4]
    small: Any = prune_model(masked, images, len(places) / prunable(masked, images).width())
    index = small.blocks[BLOCK][1].index
    index[:2] = index[:2].flip(0)
    assert difference(small, masked, images) > 1e-4


def test_a_shuffle_that_stays_one_is_kept(network: Callable[..., Any], pictures: torch.Tensor) -> None:
    """With the last of each run of three gone, what remains is shuffled as before, 16 channels a group."""
    dead = copy.deepcopy(network("alnet", cbam=False))
    block = dead.blocks[BLOCK]
    places = [(i, j) for i in range(8) for j in range(2, PER_GROUP, 3)]
    for layer in block[0][:2]:
        kill(layer, [PER_GROUP * i + j for i, j in places])
    for layer in block[2][:2]:
        kill(layer, [GROUPS * j + i for i, j in places])
    images = pictures[:4]
    small: Any = prune_model(dead, images, len(places) / prunable(dead, images).width())
    assert isinstance(small.blocks[BLOCK][1], ChannelShuffle)
    assert difference(small, dead, images) <= 1e-5


@pytest.mark.parametrize(("name", "options"), [("alnet", {}), ("alnet", {"groups": 4}), ("shufflenet_v1", {})])
def test_bundles_take_equally_many_from_every_group(
    name: str, options: dict[str, Any], network: Callable[..., Any], pictures: torch.Tensor
) -> None:
    found = prunable(network(name, **options), pictures[:1], fix_embedding=False)
    generator = torch.Generator().manual_seed(0)
    partitions = 0
    for layer in found.layers.values():
        seen: list[int] = []
        place = {c: number for number, c in enumerate(layer.classes)}
        scores = {c: float(torch.rand(1, generator=generator)) for c in layer.classes}
        for bundle in make_bundles(layer, scores, 1, kept={layer.classes[1]}):
            for partition in layer.partitions:
                blocks = [partition[place[c]] for c in bundle.classes]
                assert len({blocks.count(b) for b in set(partition) - {-1}}) == 1
            seen += bundle.classes
        assert len(seen) == len(set(seen)) < len(layer.classes)
        assert layer.classes[1] not in seen
        partitions = max(partitions, len(layer.partitions))
    assert partitions >= 2


def test_dead_channels_were_the_maximum_of_all_negative_ones(pictures: torch.Tensor) -> None:
    """CBAM after a linear bottleneck: with the dead channels gone, its spatial maximum must not fall below zero."""
    torch.manual_seed(0)
    conv, norm, attention = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), SpatialAttention()
    with torch.no_grad():
        norm.bias.fill_(-5)
    kill(conv, [2, 5])
    kill(norm, [2, 5])
    masked = nn.Sequential(conv, norm, attention, nn.Conv2d(8, 2, 1)).eval()
    small: Any = prune_model(masked, pictures, 2 / 8)
    assert small[0].out_channels == 6
    assert difference(small, masked, pictures) <= 1e-5
    small[2].floor = False
    assert difference(small, masked, pictures) > 1e-3
