"""What other poolings let go: channels of the map under GeM, none of those that ECA counts as neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from compress.stages.prune import prune_model
from tests.pruning.test_exact import assert_same, parameters, random_dead

TRUNK: dict[str, Any] = {"alnet": {"widths": (16, 24), "strides": (2, 2), "expansions": (1, 3), "head_width": 64}}


@pytest.mark.parametrize(
    ("name", "dim", "prune_embedding", "map_shrinks"),
    [("gem", 16, False, True), ("gem", None, True, True), ("gem", None, False, False), ("fusion", 16, False, False)],
)
def test_without_dead_channels_the_embedding_is_the_same(
    name: str,
    dim: int | None,
    prune_embedding: bool,
    map_shrinks: bool,
    network: Callable[..., Any],
    settle: Callable[[nn.Module], nn.Module],
    pictures: torch.Tensor,
) -> None:
    whole = network(name, trunk=TRUNK, dim=dim)
    masked, share = random_dead(whole, pictures[:4], seed=7, prune_embedding=prune_embedding)
    settle(masked)
    small: Any = prune_model(masked, pictures[:4], share, prune_embedding=prune_embedding)
    assert parameters(small) < 0.95 * parameters(masked)
    assert (small.trunk.head[0][0].out_channels < 64) == map_shrinks
    with torch.no_grad():
        assert_same(small(pictures), masked(pictures))
        assert bool((masked(pictures) - whole(pictures)).abs().max() > 1e-3)  # the dead channels had a say
