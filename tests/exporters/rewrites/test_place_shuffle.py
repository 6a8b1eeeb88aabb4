"""A shuffle folded into either convolution or moved gives the same; one of other groups does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from architectures.layers.blocks import ChannelPermutation, ChannelShuffle
from exporters.rewrites.place_shuffle import PlaceShuffle
from tests.exporters.rewrites._networks import CHEAP_DENSE, CHEAP_MOVES, TOLERANCE, Only, difference, rewritten

FORMS = ["move", "into first", "into second"]


class _TransposedShuffle(nn.Module):
    """The shuffle as the ShuffleNet authors write it, with view and transpose."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, 3, 8, 7, 9).transpose(1, 2).contiguous().view(-1, 24, 7, 9)


SHUFFLES: dict[str, Callable[[], nn.Module]] = {
    "unflatten": lambda: ChannelShuffle(3),
    "view": _TransposedShuffle,
    "torch": lambda: nn.ChannelShuffle(3),
    "index": lambda: ChannelPermutation(torch.randperm(24, generator=torch.Generator().manual_seed(3))),
}


def block(shuffle: nn.Module, stride: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(6, 24, 1, groups=3),
        nn.ReLU6(),
        shuffle,
        nn.Conv2d(24, 24, 3, stride, 1, groups=24),
        nn.ReLU6(),
        nn.Conv2d(24, 12, 1, groups=3, bias=False),
    )


X = torch.randn(2, 6, 7, 9, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("costs", [CHEAP_DENSE, CHEAP_MOVES], ids=["channels-last", "channels-first"])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_form_of_every_spelling(form: str, shuffle: str, costs, stride: int) -> None:  # type: ignore[no-untyped-def]
    network = block(SHUFFLES[shuffle](), stride)
    only = Only(PlaceShuffle(costs), form)
    changed = rewritten(network, X, [only])
    assert only.count == 1
    assert difference(network, changed, X) < TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_other_groups_or_none_would_be_seen(form: str) -> None:
    changed = rewritten(block(ChannelShuffle(3)), X, [Only(PlaceShuffle(CHEAP_DENSE), form)])
    for other in (ChannelShuffle(8), ChannelShuffle(2), nn.Identity()):
        assert difference(block(other), changed, X) > 0.01


def test_a_move_waits_for_the_smaller_map_and_needs_rank_4() -> None:
    changed = rewritten(block(ChannelShuffle(3)), X, [Only(PlaceShuffle(CHEAP_DENSE), "move")])
    called = [str(node.target).partition("_")[0] for node in changed.graph.nodes if node.op == "call_module"]
    assert called == ["0", "1", "3", "reorder", "4", "5"]
    program = torch.export.export(changed, (X,))
    shapes = [node.meta["val"].ndim for node in program.graph.nodes if hasattr(node.meta.get("val"), "ndim")]
    assert len(shapes) > 10 and max(shapes) == 4


@pytest.mark.parametrize(
    "moves",
    [
        pytest.param(lambda x: x.transpose(2, 3).reshape(2, 24, 7, 9), id="positions mixed"),
        pytest.param(lambda x: x.flip(1), id="not recognised"),
    ],
)
def test_what_is_no_permutation_of_channels_stays(moves: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class _Moves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return moves(x)

    network = block(_Moves())
    assert difference(network, rewritten(network, X, [PlaceShuffle(CHEAP_DENSE)]), X) == 0


def test_a_convolution_with_another_reader_keeps_its_order() -> None:
    class _Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.shuffle = nn.Conv2d(6, 24, 1, groups=3), ChannelShuffle(3)
            self.second = nn.Conv2d(24, 24, 1, groups=3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = self.first(x)
            total: torch.Tensor = self.second(self.shuffle(first)) + first
            return total

    only = Only(PlaceShuffle(CHEAP_DENSE), "into first")
    rewritten(_Read(), X, [only])
    assert only.count == 0
    network = _Read()
    assert difference(network, rewritten(network, X, [PlaceShuffle(CHEAP_DENSE)]), X) < TOLERANCE
