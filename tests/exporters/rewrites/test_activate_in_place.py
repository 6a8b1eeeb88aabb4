"""Activations overwrite only what nobody else reads."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from exporters._costs import TORCH
from exporters.rewrites.activate_in_place import ActivateInPlace
from tests.exporters.rewrites._networks import difference, rewritten

X = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


class _Network(nn.Module):
    """One activation that may overwrite, and three that may not: two readers, a network's input, a view."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.act = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.ReLU6()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        alone = self.act(self.first(x))
        both = self.second(alone)
        viewed = self.act(both.transpose(1, 2)).transpose(1, 2)
        total: torch.Tensor = self.act(both) + both + viewed + self.act(x).mean()
        return total


def test_only_what_nobody_else_reads_is_overwritten() -> None:
    network, given = _Network(), X.clone()
    changed = rewritten(network, X, [ActivateInPlace(TORCH)])
    assert [module.inplace for module in changed.modules() if isinstance(module, nn.ReLU6)] == [False, True]
    assert difference(network, changed, X) == 0
    changed(X)
    assert torch.equal(X, given)


def test_a_wrong_overwriting_would_be_seen() -> None:
    network = _Network()
    changed = rewritten(network, X, [ActivateInPlace(TORCH)])
    for module in changed.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    assert difference(network, changed, X.clone()) > 0.01


def test_other_runtimes_keep_theirs() -> None:
    changed = rewritten(_Network(), X, [ActivateInPlace(replace(TORCH, in_place=False))])
    assert not any(module.inplace for module in changed.modules() if isinstance(module, nn.ReLU6))
