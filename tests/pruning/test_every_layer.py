"""Every layer of torch.nn with weights is pruned exactly, or keeps its channels."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from compress.contracts import BadInput
from compress.pruning.comparison import computes_the_same, masked
from compress.pruning.plan import choose_share, largest_share, prunable
from compress.stages.prune import prune_model
from tests.pruning.conftest import kill

IMAGE = torch.zeros(1, 3, 16, 20)

Shape = Callable[[torch.Tensor], torch.Tensor]


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def tokens(x: torch.Tensor) -> torch.Tensor:
    """[N, C, h, w] -> [N, h * w, C]"""
    return x.flatten(2).transpose(1, 2)


def line(x: torch.Tensor) -> torch.Tensor:
    """[N, C, h, w] -> [N, C, h * w]"""
    return x.flatten(2)


def volume(x: torch.Tensor) -> torch.Tensor:
    return x.unsqueeze(2)


# Layer -> its arguments, and what makes its input of a map [N, 8, 16, 20].
LAYERS: dict[type[nn.Module], tuple[tuple[Any, ...], dict[str, Any], Shape]] = {
    nn.Conv1d: ((8, 8, 3), {}, line),
    nn.Conv2d: ((8, 8, 3), {}, same),
    nn.Conv3d: ((8, 8, (1, 3, 3)), {}, volume),
    nn.ConvTranspose1d: ((8, 8, 3), {}, line),
    nn.ConvTranspose2d: ((8, 8, 3), {}, same),
    nn.ConvTranspose3d: ((8, 8, (1, 3, 3)), {}, volume),
    nn.BatchNorm1d: ((8,), {}, line),
    nn.BatchNorm2d: ((8,), {}, same),
    nn.BatchNorm3d: ((8,), {}, volume),
    nn.SyncBatchNorm: ((8,), {}, same),
    nn.GroupNorm: ((2, 8), {}, same),
    nn.InstanceNorm1d: ((8,), {"affine": True}, line),
    nn.InstanceNorm2d: ((8,), {"affine": True}, same),
    nn.InstanceNorm3d: ((8,), {"affine": True}, volume),
    nn.LayerNorm: ((8,), {}, tokens),
    nn.RMSNorm: ((8,), {}, tokens),
    nn.PReLU: ((8,), {}, same),
    nn.Linear: ((8, 8), {}, tokens),
    nn.Bilinear: ((8, 8, 8), {}, tokens),
    nn.RNN: ((8, 8), {"batch_first": True}, tokens),
    nn.GRU: ((8, 8), {"batch_first": True}, tokens),
    nn.LSTM: ((8, 8), {"batch_first": True}, tokens),
    nn.RNNCell: ((8, 8), {}, lambda x: x.mean((2, 3))),
    nn.GRUCell: ((8, 8), {}, lambda x: x.mean((2, 3))),
    nn.LSTMCell: ((8, 8), {}, lambda x: x.mean((2, 3))),
    nn.MultiheadAttention: ((8, 2), {"batch_first": True}, tokens),
    nn.TransformerEncoderLayer: ((8, 2, 16), {"batch_first": True}, tokens),
    nn.TransformerDecoderLayer: ((8, 2, 16), {"batch_first": True}, tokens),
    nn.Transformer: ((8, 2, 1, 1, 16), {"batch_first": True}, tokens),
}
NO_IMAGES = {
    *(nn.Embedding, nn.EmbeddingBag),  # read whole numbers
    *(nn.AdaptiveLogSoftmaxWithLoss, nn.TransformerEncoder, nn.TransformerDecoder),  # a loss; lists of layers above
    *(nn.RNNBase, nn.RNNCellBase),
}
TWICE = (nn.Bilinear, nn.TransformerDecoderLayer, nn.Transformer)
THRICE = (nn.MultiheadAttention,)
PAIRS = (nn.RNN, nn.GRU, nn.LSTM, nn.LSTMCell, nn.MultiheadAttention)


class Net(nn.Module):
    """conv -> BN -> ReLU -> a layer -> whatever it gives, as one vector."""

    def __init__(self, layer: nn.Module, shape: Shape = same) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.middle = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.layer, self.shape = layer, shape
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shape(self.middle(torch.relu(self.norm(self.first(x)))))
        count = 3 if isinstance(self.layer, THRICE) else 2 if isinstance(self.layer, TWICE) else 1
        given = self.layer(*[x] * count)
        found: torch.Tensor = given[0] if isinstance(self.layer, PAIRS) else given
        return found.flatten(1)


def with_weights() -> list[type[nn.Module]]:
    """The layers of torch.nn that have parameters."""
    found = []
    for name, kind in inspect.getmembers(nn, inspect.isclass):
        bases = [
            base for base in kind.__mro__ if base.__module__.startswith("torch.nn.modules") and base is not nn.Module
        ]
        if any("Parameter(" in inspect.getsource(base) for base in bases) and not name.startswith("Lazy"):
            found.append(kind)
    return found


def test_the_table_has_every_layer_with_weights() -> None:
    known = {*LAYERS, *NO_IMAGES, nn.ParameterList, nn.ParameterDict}
    found = with_weights()
    assert len(found) >= 15
    assert [kind.__name__ for kind in found if kind not in known] == []


def pruned_exactly(network: nn.Module, ratio: float = 0.5) -> int:
    """Check that the network without channels computes what it computes with zeros; returns how many were removed."""
    network.eval()
    found = prunable(network, IMAGE)
    chosen = choose_share(found, min(ratio, largest_share(found)))
    removed = {number for bundle in chosen for number in bundle.classes}
    small = found.without(chosen)
    noise = torch.randn(2, *IMAGE.shape[1:], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(small(noise), masked(network, found.channels, removed)(noise), rtol=1e-3, atol=1e-4)
    return len(removed)


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore")
def test_every_layer_is_pruned_exactly_or_kept(kind: type[nn.Module]) -> None:
    args, options, shape = LAYERS[kind]
    assert pruned_exactly(Net(kind(*args, **options), shape)) > 0  # of ``first``, at least


def weight_norm(layer: nn.Module) -> nn.Module:
    return parametrizations.weight_norm(layer)


def spectral_norm(layer: nn.Module) -> nn.Module:
    return parametrizations.spectral_norm(layer)


class Scaled(nn.Conv2d):
    """Standardises its weights over all inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight / self.weight.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        found: torch.Tensor = self._conv_forward(x, weight, self.bias)
        return found


class Written(nn.Module):
    """Operations whose code has numbers of channels, or parameters that pruning does not cut."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.last = how, nn.Conv2d(16 if how.startswith("cat") else 8, 8, 1)
        self.added = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.map = nn.Parameter(torch.rand(1, 1, 16, 20))
        self.columns = nn.Linear(20, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.how:
            case "sum with a parameter":
                x = x + self.added
            case "product with a parameter":
                x = self.added[0] * x
            case "sum with a map":
                x = x + self.map
            case "sum with a broadcast constant":
                x = x + torch.arange(8.0).reshape(8, 1, 1)
            case "view":
                x = x.view(x.shape[0], 2, 4, x.shape[2], x.shape[3]).flatten(1, 2)
            case "view of 8":
                x = x.view(-1, 8, 320).relu().view(-1, 8, 16, 20)
            case "cat":
                x = torch.cat(tensors=(x, x.relu()), dim=1)
            case "cat of parts":
                x = torch.concat([x, self.map.expand(x.shape[0], 8, -1, -1)], 1)
            case "rows":
                x = torch.cat((x, x.flip(1)), dim=2)
            case "columns":
                x = self.columns(x)
            case "normalize":
                x = nn.functional.normalize(x, dim=1)
            case "softmax":
                x = x.softmax(1)
            case "split":
                one, two = x.split([3, 5], 1)
                x = torch.cat((two, one), 1)
            case "attention":
                heads = x.reshape(x.shape[0], 2, 4, -1)
                x = (heads @ heads.transpose(2, 3) @ heads).reshape(x.shape)
        found: torch.Tensor = self.last(x)
        return found


@pytest.mark.parametrize(
    "layer",
    [
        weight_norm(nn.Conv2d(8, 8, 3)),
        spectral_norm(nn.Conv2d(8, 8, 3)),
        Scaled(8, 8, 3),
        nn.BatchNorm2d(8, track_running_stats=False),
        *map(
            Written,
            [
                *("sum with a parameter", "product with a parameter", "sum with a map"),
                *("sum with a broadcast constant", "view", "view of 8", "cat", "cat of parts", "rows", "columns"),
                *("normalize", "softmax", "split", "attention"),
            ],
        ),
    ],
    ids=lambda layer: getattr(layer, "how", type(layer).__name__),
)
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_rule_keeps_its_channels(layer: nn.Module) -> None:
    network = Net(layer)
    assert pruned_exactly(network) > 0
    small = prune_model(network.eval(), IMAGE, 0.3)
    assert small(IMAGE).shape[0] == 1


def test_dead_channels_before_a_parameter_change_nothing() -> None:
    network = Net(Written("sum with a parameter")).eval()
    kill(network.first, [1, 2, 3])
    kill(network.norm, [1, 2, 3])
    noise = torch.randn(2, *IMAGE.shape[1:], generator=torch.Generator().manual_seed(1))
    small = prune_model(network, IMAGE, 3 / 8)
    torch.testing.assert_close(small(noise), network(noise), rtol=1e-4, atol=1e-5)
    assert small.first.out_channels == 5


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_cannot_be_copied_is_refused_in_one_line() -> None:
    network = Net(nn.utils.weight_norm(nn.Conv2d(8, 8, 3)))
    with pytest.raises(BadInput, match=r"^Net: cannot be copied .*parametrizations\.weight_norm$"):
        prune_model(network, IMAGE, 0.3)


class Unlucky(nn.Module):
    """Multiplies by the number of channels, which no rule sees."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.third, self.last = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        x = torch.relu(self.third(x * self.second.weight.shape[0]))
        return self.last(x).flatten(1)


def test_a_layer_that_the_rules_misjudge_is_left_alone() -> None:
    network = Unlucky().eval()
    found = prunable(network, IMAGE)
    assert set(found.layers) == {"first", "third"}
    assert pruned_exactly(network) > 0


def test_a_wrong_network_is_found() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()).eval()
    found = prunable(network, IMAGE)
    chosen = choose_share(found, 0.5)
    removed = {number for bundle in chosen for number in bundle.classes}
    small = found.without(chosen)
    assert removed and computes_the_same(small, network, found.channels, removed, IMAGE)
    with torch.no_grad():
        small[0].weight[[0, 1]] = small[0].weight[[1, 0]]
    assert not computes_the_same(small, network, found.channels, removed, IMAGE)


def test_a_ratio_that_removes_nothing_says_so() -> None:
    network = Net(nn.Conv2d(8, 8, 3), nn.LayerNorm([8, 16, 20])).eval()
    del network.norm
    network.norm = nn.Identity()
    network.middle = nn.Identity()
    with pytest.warns(UserWarning, match=r"ratio: 0\.5 removes nothing: 0 channels can be removed"):
        small = prune_model(network, IMAGE, 0.5)
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in network.parameters())
    with pytest.raises(BadInput, match=r"^ratio: 0\.5: no channel of this network can be removed"):
        prunable(network, IMAGE).require_some("ratio: 0.5")
