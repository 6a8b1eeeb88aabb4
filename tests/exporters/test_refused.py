"""The message about a network that a converter refuses names the operation and the layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks._micro_networks import MICRO
from compress.contracts import CompressError
from exporters import export_model
from exporters._refused import refused_operation


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.block = nn.Sequential(nn.ReLU(), nn.Softplus(), nn.Conv2d(4, 4, 1), nn.Softplus())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.block(self.first(x.float()))
        return F.softsign(y).mean((2, 3))


@pytest.mark.parametrize(
    ("refused", "title"),
    [(nn.Conv2d, "Conv2d 'first'"), (nn.Softplus, "Softplus 'block.1'"), (nn.Tanh, None)],
)
def test_the_first_refused_layer_is_named(refused: type[nn.Module], title: str | None) -> None:
    def converts(part: nn.Module) -> bool:
        assert part(torch.zeros(1, 3, 8, 9, dtype=torch.uint8)).ndim == 2
        return not any(isinstance(layer, refused) for layer in part.modules())

    assert refused_operation(Several(), (8, 9), converts) == title


def test_a_refused_function_is_named() -> None:
    def converts(part: nn.Module) -> bool:
        return "softsign" not in str(part.graph)  # type: ignore[operator]

    title = refused_operation(Several(), (8, 9), converts)
    assert title is not None and title.startswith("softsign '")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "suffix", "layer"),
    [
        ("conv, circular", ".mlpackage", "to coreml refuses Conv2d 'between'"),
        ("conv transposed", ".tflite", "to tflite refuses ConvTranspose2d 'between'"),
    ],
)
def test_a_converters_refusal_names_format_and_layer(name: str, suffix: str, layer: str, tmp_path: Path) -> None:
    with pytest.raises(CompressError, match=layer) as caught:
        export_model(MICRO[name]().eval(), tmp_path / f"m{suffix}", input_size=64)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 and "site-packages" not in str(caught.value)
