"""Folding changes how a network is written down, not what it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from architectures import create_model, list_models
from compress.contracts import BadInput
from exporters._fold_batchnorm import fold_batchnorm

TOLERANCE = 1e-5
Line = Callable[[Any, torch.Tensor], torch.Tensor]


@torch.no_grad()
def difference(network: nn.Module, other: nn.Module, images: torch.Tensor) -> float:
    """Largest error of ``other``, relative to the largest value of ``network`` in float64.

    ``other`` computes in the type of its weights.
    """
    want = copy.deepcopy(network).double()(images.double())
    got = other(images.to(next(other.parameters()).dtype)).double()
    assert want.std(0).max() > 0.01 * want.abs().max()  # a network that ignores its input would agree with anything
    return float((got - want).abs().max() / want.abs().max())


def folding_error(network: nn.Module, images: torch.Tensor) -> float:
    """What folding alone does: the folded float32 weights, computed with in float64."""
    return difference(network, fold_batchnorm(network).double(), images)


def limit(network: nn.Module, images: torch.Tensor) -> float:
    """Deep networks with random gains amplify rounding: what float32 does to the unfolded network is allowed, too."""
    return max(TOLERANCE, difference(network, network, images))


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.fixture(scope="module")
def images(tinted: Callable[..., np.ndarray]) -> torch.Tensor:
    """[8, 3, 64, 64], in [-1, 1]; not among those that batch normalisation was fitted to."""
    return torch.from_numpy(tinted(8, 64, 64, first=100)).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module", params=list_models())
def network(request: pytest.FixtureRequest, calibrate: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return calibrate(create_model(cast(str, request.param)))


@pytest.mark.every_change("alnet", "mobilenet_v3")
def test_every_architecture_is_the_same_without_batch_normalisation(network: nn.Module, images: torch.Tensor) -> None:
    assert norms(network) > 0
    assert norms(fold_batchnorm(network)) == 0
    assert folding_error(network, images) <= limit(network, images)


@pytest.mark.every_change("alnet")
@pytest.mark.parametrize("network", ["alnet", "shufflenet_v2", "efficientnet_lite0"], indirect=True)
def test_a_forgotten_running_mean_would_be_seen(network: nn.Module, images: torch.Tensor) -> None:
    broken = copy.deepcopy(network)
    for module in broken.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()  # type: ignore[union-attr]
    assert difference(network, fold_batchnorm(broken).double(), images) > 100 * limit(network, images)


def test_the_caller_keeps_the_model_as_it_was(calibrate: Callable[..., nn.Module]) -> None:
    model = calibrate(create_model("shufflenet_v2", width=0.5)).train()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    fold_batchnorm(model)
    assert model.training and all(module.training for module in model.modules())
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())
    assert len(before) == len(model.state_dict())


class _Case(nn.Module):
    """A network of one line of code."""

    def __init__(self, line: Line, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.BatchNorm2d(3, affine=False)
        self.line = line

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(self, x)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        pytest.param(lambda m, x: m.norm(m.conv(x)), 0, id="plain"),
        pytest.param(lambda m, x: m.norm(input=m.conv(x)), 0, id="keyword"),
        pytest.param(lambda m, x: m.second(m.norm(m.conv(x))), 0, id="two in a row"),
        pytest.param(lambda m, x: m.norm(m.conv(m.conv(x))), 1, id="convolution used twice"),
        pytest.param(lambda m, x: (lambda y: m.norm(y) + y)(m.conv(x)), 1, id="convolution with two readers"),
        pytest.param(lambda m, x: m.norm(m.conv(x).relu()), 1, id="not behind a convolution"),
        pytest.param(lambda m, x: m.norm(m.conv(m.norm(x))), 1, id="one norm, folded once and kept once"),
        pytest.param(lambda m, x: m.norm(m.conv(x)) + m.norm(m.conv(x * x)), 0, id="both called twice"),
        pytest.param(lambda m, x: m.norm(m.conv(x)) + m.second(m.conv(-x)), 2, id="one convolution before two norms"),
        pytest.param(lambda m, x: m.norm(m.conv(x)) + m.conv(-x), 1, id="one of two calls is read by a norm"),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_it_folds_where_it_may(line: Line, left: int, bias: bool, images: torch.Tensor) -> None:
    network = _Case(line, bias)
    nn.init.uniform_(cast(torch.Tensor, network.second.running_mean), -1, 1)
    nn.init.uniform_(cast(torch.Tensor, network.second.running_var), 0.3, 2)
    nn.init.uniform_(cast(torch.Tensor, network.norm.running_mean), -1, 1)
    nn.init.uniform_(cast(torch.Tensor, network.norm.running_var), 0.3, 2)
    network.eval()
    assert norms(fold_batchnorm(network)) == left
    assert folding_error(network, images) <= TOLERANCE


def test_one_value_worked_by_hand() -> None:
    """W = 2, b = 1; mean 3, var 4 - eps, gamma 5, beta 6: scale 5 / 2, so W' = 5 and b' = (1 - 3) 5 / 2 + 6 = 1."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1e-3))
    conv, norm = network
    for values, number in (
        (conv.weight, 2.0),
        (conv.bias, 1.0),
        (norm.running_mean, 3.0),
        (norm.running_var, 4 - 1e-3),
        (norm.weight, 5.0),
        (norm.bias, 6.0),
    ):
        nn.init.constant_(cast(torch.Tensor, values), number)
    folded = cast(nn.Conv2d, fold_batchnorm(network).get_submodule("0"))
    assert folded.weight.item() == pytest.approx(5)
    assert folded.bias is not None and folded.bias.item() == pytest.approx(1)


def test_code_that_asks_for_values_cannot_be_exported() -> None:
    network = _Case(lambda m, x: m.conv(x) if x.sum() > 0 else x)
    with pytest.raises(BadInput, match=r"^_Case: cannot be exported") as error:
        fold_batchnorm(network)
    assert "\n" not in str(error.value)
