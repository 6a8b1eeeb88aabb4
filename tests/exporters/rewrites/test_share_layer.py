"""f(a) + f(b) = f(a + b) with twice the bias, and only for what is linear."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from exporters.rewrites.share_layer import ShareLayer
from tests.exporters.rewrites._networks import TOLERANCE, difference, rewritten


class _Case(nn.Module):
    def __init__(self, line: Callable[[_Case, torch.Tensor], torch.Tensor], bias: bool = True) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1, bias=bias)
        self.other = nn.Conv2d(3, 4, 1, bias=bias)
        self.line = line

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(self, x)


X = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_applied_once(bias: bool) -> None:
    network = _Case(lambda m, x: m.layer(x.relu()) + m.layer(x.sigmoid()), bias)
    changed = rewritten(network, X, [ShareLayer()])
    assert sum(node.op == "call_module" for node in changed.graph.nodes) == 1
    assert difference(network, changed, X) < TOLERANCE


def test_a_forgotten_second_bias_would_be_seen() -> None:
    network = _Case(lambda m, x: m.layer(x.relu()) + m.layer(x.sigmoid()))
    once = _Case(lambda m, x: m.layer(x.relu() + x.sigmoid()))
    once.load_state_dict(network.state_dict())
    assert difference(network, once, X) > 0.01


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(lambda m, x: m.layer(x) + m.other(x), id="two layers"),
        pytest.param(lambda m, x: m.layer(x) * m.layer(x.relu()), id="a product"),
        pytest.param(lambda m, x: (lambda a, b: a + b + a)(m.layer(x), m.layer(x.relu())), id="read twice"),
    ],
)
def test_what_is_no_such_sum_stays(line: Callable[[_Case, torch.Tensor], torch.Tensor]) -> None:
    network = _Case(line)
    assert difference(network, rewritten(network, X, [ShareLayer()]), X) == 0


def test_one_value_worked_by_hand() -> None:
    """3 * 2 + 1 and 3 * 5 + 1 make 23; once: 3 * (2 + 5) + 2 * 1."""
    case = _Case(lambda m, x: m.layer(x[:, :1]) + m.layer(x[:, 1:2]))
    case.layer = nn.Conv2d(1, 1, 1)
    nn.init.constant_(case.layer.weight, 3)
    assert case.layer.bias is not None
    nn.init.constant_(case.layer.bias, 1)
    x = torch.tensor([2.0, 5.0, 0.0]).reshape(1, 3, 1, 1)
    assert rewritten(case, x, [ShareLayer()])(x).item() == 23
