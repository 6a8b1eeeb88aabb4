"""A written file is executed and compared with the network before it gets its name, and wrong files never do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.contracts import BadInput, CompressError, DeployGraph, Preprocess
from exporters import export_model, find_exporter
from exporters._deploy import Deployed
from exporters._written import embedded, relative_error
from exporters.torchscript import TorchScript
from tests.exporters._runners import FORMATS, reference, run

SIZE = (33, 48)


def network(between: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    middle = [] if between is None else [between]
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), *middle, nn.Conv2d(8, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


def graph(of: nn.Module) -> DeployGraph:
    deployed = Deployed(of, Preprocess(SIZE, mean=(0.5, 0.4, 0.3)), "l2")
    return DeployGraph(
        deployed, SIZE, {"name": "m", "version": "1", "license": "none", "input": "", "embedding_dim": 16}
    )


def error(path: Path, of: nn.Module, images: np.ndarray) -> float:
    return relative_error(run(path, images), reference(of, images), 0)


class Changed(nn.Module):
    """Gives what another deployed network gives for a changed image."""

    def __init__(self, inner: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.inner(self.change(image))
        return result


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.flip(1),
        lambda image: image.flip(3),
        lambda image: image.roll(1, 3),
        lambda image: image.float() * 0.98,
        lambda image: torch.zeros_like(image),
        lambda image: image.float() / 0 * 0,
    ],
    ids=["channels swapped", "mirrored", "shifted", "darker", "constant", "NaN"],
)
def test_a_file_that_computes_something_else_is_not_published(
    change: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wrong(TorchScript):
        def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
            return super().convert(replace(graph, module=Changed(graph.module, change).eval()), path)

    path = tmp_path / "m.pt"
    TorchScript().write(graph(network()), path)
    before = path.read_bytes()
    with pytest.raises(CompressError, match=r"^m\.pt: the written file was not kept, as torchscript computes"):
        Wrong().write(graph(network()), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["m.pt"]


@pytest.mark.parametrize("suffix", [".pt", ".onnx", ".tflite", ".mlpackage"])
def test_a_file_that_its_runtime_refuses_is_not_published(suffix: str, tmp_path: Path) -> None:
    kind = find_exporter(suffix)

    class Damaged(kind):  # type: ignore[valid-type, misc]
        def convert(self, graph: DeployGraph, path: Path) -> Collection[str]:
            path.write_bytes(b"no model")
            return ()

        def inspect(self, path: Path) -> object:
            return find_exporter(".pt")().inspect(good)

    good = tmp_path / "good.pt"
    TorchScript().write(graph(network()), good)
    with pytest.raises(CompressError, match=r"was not kept, as it cannot be executed: .* on m\."):
        Damaged().write(graph(network()), tmp_path / f"m{suffix}")
    assert [each.name for each in tmp_path.iterdir()] == ["good.pt"]


def test_a_network_that_gives_nan_is_refused(tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        broken[0].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(BadInput, match=r"m\.pt: the network gives NaN or infinite embeddings"):
        export_model(broken, tmp_path / "m.pt", input_size=SIZE)


class Difference(nn.Module):
    """Two layers, nearly equal, whose difference is mostly rounding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other = nn.Conv2d(3, 16, 3), nn.Conv2d(3, 16, 3)
        self.other.load_state_dict(self.one.state_dict())
        with torch.no_grad():
            self.other.weight += 1e-6 * torch.randn_like(self.other.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (1e6 * (self.one(x) - self.other(x))).mean((2, 3))


@pytest.mark.nightly
def test_a_network_that_amplifies_rounding_is_exported(tmp_path: Path) -> None:
    """PyTorch's own rounding changes its embeddings by more than the limit."""
    for suffix, precision in FORMATS[:4]:
        export_model(Difference(), tmp_path / f"m{suffix}", input_size=SIZE, precision=precision)


# ------------------------------------------------------------------------------------------------ ranges


class Padded(nn.Module):
    """A padding with -inf and a max pool without: what the TFLite converter makes of padded pools."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 2)


@pytest.mark.every_change("pool-.tflite")
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, padding=1), Padded()], ids=["pool", "padding"])
def test_infinite_paddings_are_no_ranges(
    suffix: str, pool: nn.Module, tinted: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    padded, path = network(pool), tmp_path / f"m{suffix}"
    export_model(padded, path, input_size=SIZE, precision="w8a8", calibration=tinted(32, *SIZE))
    assert error(path, padded, tinted(8, *SIZE, first=40)) < 0.1


@pytest.mark.every_change("0.0-.tflite")
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("weight", [0.0, 1e-20, 1e-12, 1e-8])
def test_biases_of_channels_with_hardly_any_weight_stay(
    suffix: str, weight: float, tinted: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """Their scales would be so small that the integers of the biases overflow."""
    odd, path = network(), tmp_path / f"m{suffix}"
    with torch.no_grad():
        for layer in (odd[0], odd[2]):
            layer.weight[::2] *= weight
            layer.bias[::2] = torch.linspace(-3, 3, len(layer.bias[::2]))
    export_model(odd, path, input_size=SIZE, precision="w8a8", calibration=tinted(32, *SIZE))
    images = tinted(8, *SIZE, first=40)
    found, right = run(path, images), reference(odd, images)
    assert np.abs(found - right).max() < 0.05  # a bias that overflows is 0 or noise


def test_relative_error_by_hand() -> None:
    right = np.array([[1.0, 0.0], [-1.0, 0.0]])  # spread and length: the root of 2
    up, far, aside = np.array([0.0, 1.0]), np.array([0.0, 10.0]), np.array([1.0, 0.0])
    assert relative_error(right + up, right, 0) == pytest.approx(1)
    assert relative_error(np.zeros((2, 2)), right, 0) == pytest.approx(1)
    assert relative_error(right + aside, right + far, 1) == pytest.approx(1)  # the root of 202, of both
    assert relative_error(right, right, 0) == 0


def test_the_reference_is_the_network_itself(tinted: Callable[..., np.ndarray]) -> None:
    images = tinted(3, *SIZE)
    deployed = Deployed(network(), Preprocess(SIZE), "l2")
    np.testing.assert_allclose(embedded(deployed, images), reference(network(), images), atol=1e-5)
