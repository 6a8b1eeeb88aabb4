"""Halves that are joined, permuted and split give the same without the permutations; another permutation does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import fx, nn

from architectures.layers.blocks import ChannelPermutation, ChannelShuffle, ChannelSplit
from exporters.rewrites.move_pieces import MovePieces
from tests.exporters.rewrites._networks import CHEAP_DENSE, CHEAP_MOVES, TOLERANCE, Only, difference, rewritten

COSTS = replace(CHEAP_DENSE, pieces=True)
X = torch.randn(2, 6, 7, 9, generator=torch.Generator().manual_seed(1))


def branch(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs), nn.Conv2d(inputs, outputs, 1), nn.ReLU()
    )


class _Stage(nn.Module):
    """A unit with a stride, then units that change a part of the channels, of widths as after pruning."""

    def __init__(self, shuffles: Sequence[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU())
        self.left, self.right = branch(6, 5, 2), branch(6, 7, 2)
        self.splits = nn.ModuleList(ChannelSplit(5) for _ in shuffles[1:])
        self.units = nn.ModuleList(branch(7, 7) for _ in shuffles[1:])
        self.shuffles, self.last = nn.ModuleList(shuffles), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.shuffles[0](torch.cat([self.left(x), self.right(x)], 1))
        for split, unit, shuffle in zip(self.splits, self.units, list(self.shuffles)[1:], strict=True):
            passed, changed = split(x)
            x = shuffle(torch.cat([passed, unit(changed)], dim=1))
        result: torch.Tensor = self.last(x)
        return result


def permutation(seed: int) -> nn.Module:
    return ChannelPermutation(torch.randperm(12, generator=torch.Generator().manual_seed(seed)))


SHUFFLES: dict[str, Callable[[int], nn.Module]] = {"table": lambda seed: ChannelShuffle(2), "index": permutation}


def stage(shuffle: Callable[[int], nn.Module], last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return _Stage([shuffle(seed) for seed in range(5)], nn.Conv2d(12, 4, 3) if last is None else last)


def calls(network: fx.GraphModule, name: str) -> int:
    return sum(name in str(node.target) for node in network.graph.nodes)


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("costs", [CHEAP_DENSE, CHEAP_MOVES], ids=["channels-last", "channels-first"])
def test_pieces_compute_the_same(shuffle: str, costs) -> None:  # type: ignore[no-untyped-def]
    network = stage(SHUFFLES[shuffle])
    only = Only(MovePieces(replace(costs, pieces=True)), "pieces")
    changed = rewritten(network, X, [only])
    assert only.count == 1
    assert difference(network, changed, X) < TOLERANCE
    assert [calls(changed, name) for name in ("index_select", "flatten", "transpose")] == [0, 0, 0]


def test_another_order_would_be_seen() -> None:
    changed = rewritten(stage(permutation), X, [Only(MovePieces(COSTS), "pieces")])
    for other in (ChannelShuffle(2), ChannelShuffle(3)):
        assert difference(stage(lambda seed, other=other: permutation(seed) if seed < 4 else other), changed, X) > 0.01  # type: ignore[misc]
    # One order of the middle: the same channels reach the end, but other ones were changed on the way.
    middle = stage(lambda seed: permutation(seed if seed != 2 else 7))
    assert difference(middle, changed, X) > 0.01


def test_two_readers_get_the_same_order() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = branch(12, 4, 2), nn.Conv2d(12, 4, 1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.left(x) - self.right(x)
            return result

    network = stage(permutation, Two())
    changed = rewritten(network, X, [Only(MovePieces(COSTS), "pieces")])
    assert difference(network, changed, X) < TOLERANCE
    assert calls(changed, "index_select") == 0


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(nn.Identity(), id="the output has an order"),
        pytest.param(nn.Conv2d(12, 4, 1, groups=2), id="groups have an order"),
        pytest.param(nn.Softmax(1), id="not recognised"),
    ],
)
def test_where_the_order_counts_nothing_changes(last: nn.Module) -> None:
    only = Only(MovePieces(COSTS), "pieces")
    rewritten(stage(permutation, last), X, [only])
    assert only.count == 0


def test_runtimes_for_which_it_was_not_measured_keep_the_shuffles() -> None:
    only = Only(MovePieces(CHEAP_DENSE), "pieces")
    rewritten(stage(permutation), X, [only])
    assert only.count == 0


def test_shuffles_without_a_concatenation_are_left_to_the_convolutions() -> None:
    only = Only(MovePieces(COSTS), "pieces")
    rewritten(nn.Sequential(nn.Conv2d(6, 12, 1), permutation(0), nn.Conv2d(12, 4, 1)), X, [only])
    assert only.count == 0
