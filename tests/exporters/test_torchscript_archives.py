"""Archives keep what every layer and function of torch.nn needs to load."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from exporters import export_model
from tests.exporters._runners import reference, run

SIZE = (12, 16)


class Call(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Net(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], layer: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.layer, self.function = nn.Conv2d(3, 8, 3), layer, Call(function)
        last = layer[-1] if isinstance(layer, nn.Sequential) else layer
        self.pair = isinstance(last, nn.RNNBase)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = self.function(self.first(x))
        found: Any = given if self.layer is None else self.layer(given)
        return (found[0] if self.pair else found).flatten(1)  # type: ignore[no-any-return]


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    **{
        name: getattr(F, name)
        for name in (
            *("celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid"),
            *("mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh"),
            *("tanhshrink", "normalize", "glu"),
        )
    },
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "softmin": lambda x: F.softmin(x, 1),
    "threshold": lambda x: F.threshold(x, 0.1, -1),
    "local_response_norm": lambda x: F.local_response_norm(x, 3),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": F.instance_norm,
    "rms_norm": lambda x: F.rms_norm(x, x.shape[1:]),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "lp_pool2d": lambda x: F.lp_pool2d(x, 2, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 3),
    "pad reflect": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "pad replicate": lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
    "pad circular": lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "unfold": lambda x: F.unfold(x, 3),
    "interpolate nearest": lambda x: F.interpolate(x, (7, 20)),
    "interpolate bilinear": lambda x: F.interpolate(x, (7, 20), mode="bilinear", antialias=True),
    "interpolate bicubic": lambda x: F.interpolate(x, (7, 20), mode="bicubic"),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "one_hot": lambda x: F.one_hot(x.argmax(1), 8).float(),
    "grid_sample": lambda x: F.grid_sample(
        x, F.affine_grid(torch.eye(2, 3).expand(x.shape[0], -1, -1), list(x.shape), align_corners=False)
    ),
    "einsum": lambda x: torch.einsum("nchw,ndhw->ncd", x, x),
}


def tokens(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).transpose(1, 2)


LAYERS: dict[str, tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]] = {
    "GELU tanh": (nn.GELU(approximate="tanh"), torch.relu),
    "LSTM": (nn.LSTM(8, 5, batch_first=True), tokens),
    "GRU twice": (nn.Sequential(nn.Linear(8, 6), nn.GRU(6, 5, batch_first=True)), tokens),
    "transformer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), tokens),
    "transposed": (nn.ConvTranspose2d(8, 4, 3, 2), torch.relu),
    "PReLU": (nn.PReLU(8), torch.neg),
}
CASES = {**{name: (None, function) for name, function in FUNCTIONS.items()}, **LAYERS}


@pytest.mark.every_change(".pt")
@pytest.mark.parametrize("suffix", [".pt", ".ptl"])
@pytest.mark.parametrize("name", CASES)
def test_archives_load_and_compute_the_same(name: str, suffix: str, tmp_path: Path) -> None:
    layer, function = CASES[name]
    network = Net(function, layer).eval()
    images = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8).numpy()
    path = export_model(network, tmp_path / f"m{suffix}", input_size=SIZE)
    right = torch.from_numpy(reference(network, images))
    torch.testing.assert_close(torch.from_numpy(run(path, images)), right, rtol=1e-3, atol=1e-4)


def test_every_activation_of_torch_is_met() -> None:
    from torch.nn.modules import activation

    known = {name.partition(" ")[0].replace("_", "").lower() for name in CASES}
    missing = {
        name
        for name, kind in inspect.getmembers(activation, inspect.isclass)
        if kind.__module__ == activation.__name__ and name.lower() not in known
    }
    others = {"MultiheadAttention", "RReLU", "Softmax2d", "Threshold"}  # random, or a case under another name
    assert missing <= others
