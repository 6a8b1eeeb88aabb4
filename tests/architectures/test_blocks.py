"""Channel shuffle against ShuffleNet's definition, value by value."""

from __future__ import annotations

import pytest
import torch

from architectures.layers.blocks import ChannelShuffle


def slow_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Figure 1c: the j-th channel of group i goes to place j * groups + i."""
    result = torch.full_like(x, float("nan"))
    per_group = x.shape[1] // groups
    for i in range(groups):
        for j in range(per_group):
            result[:, j * groups + i] = x[:, i * per_group + j]
    return result


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("groups", "channels"), [(1, 5), (2, 6), (3, 12), (8, 32), (6, 6)])
def test_shuffle_is_the_published_permutation(groups: int, channels: int, training: bool) -> None:
    x = torch.randn(2, channels, 3, 5)
    shuffle = ChannelShuffle(groups).train(training)
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.equal(shuffle(x.contiguous(memory_format=layout)), slow_shuffle(x, groups))


def test_by_hand() -> None:
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert ChannelShuffle(2).eval()(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    # The control: the opposite permutation is another one, and it undoes this one.
    assert ChannelShuffle(3).eval()(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(ChannelShuffle(3)(ChannelShuffle(2)(x)), x)
