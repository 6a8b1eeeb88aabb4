"""Layers that keep float weights: the right ones, in the file as in the record, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.contracts import BadInput, CompressError, DeployGraph, EmbeddingSpec, ImageSet, Preprocess
from compress.data.calibration import calibration_images
from exporters import find_exporter
from exporters._by_error import relative_error
from exporters._deploy import Deployed, describe, optimized
from exporters._float_weights import FloatLayers, chosen
from exporters._stored import require
from exporters._tflite_quantize import converted, smaller
from exporters._tflite_stored import stored
from exporters._tflite_weights import weights_of
from exporters._written import embedded
from exporters.tflite import TFLite
from tests.exporters._runners import MEAN, STD, run

SIZE = (16, 24)
SHARE = 0.3


class _Uneven(nn.Module):
    """Rounding hurts ``narrow`` most: each channel has one large weight, for a channel that is always zero."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2)
        self.deep = nn.Conv2d(16, 16, 3, groups=16)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.wide = nn.Conv2d(8, width, 1)
        self.last = nn.Linear(width, 8)
        with torch.no_grad():
            assert self.deep.bias is not None
            self.deep.bias[0] = -1000
            self.narrow.weight[:, 0] = 40

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.narrow(self.deep(self.first(x).relu()).relu())
        return self.last(self.wide(x).relu().mean((2, 3)))


def made(images: np.ndarray, width: int = 40) -> DeployGraph:
    torch.manual_seed(0)
    preprocess = Preprocess(SIZE, mean=MEAN, std=STD)
    about = describe(
        name="uneven",
        license="CC0-1.0",
        architecture="_Uneven",
        preprocess=preprocess,
        embedding=EmbeddingSpec.of(8, "l2"),
    )
    return DeployGraph(Deployed(_Uneven(width).eval(), preprocess, "l2"), SIZE, about, images)


@pytest.fixture(scope="module")
def images(tinted: Callable[..., np.ndarray]) -> np.ndarray:
    return tinted(40, *SIZE)


@pytest.fixture(scope="module")
def graph(images: np.ndarray) -> DeployGraph:
    return optimized(made(images), TFLite())


@pytest.fixture(scope="module")
def content(graph: DeployGraph, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("float") / "m.tflite"
    TFLite(optimize="none").write_unchecked(graph, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def layers(graph: DeployGraph) -> FloatLayers:
    return chosen(graph, SHARE)


def error(path: Path, content: bytes, graph: DeployGraph) -> float:
    path.write_bytes(content)
    assert graph.calibration is not None
    return relative_error(run(path, graph.calibration), embedded(graph.module, graph.calibration))


def test_the_choice_by_hand(graph: DeployGraph, layers: FloatLayers) -> None:
    """Every layer rounded alone, in plain loops over channels; then the best error per weight that still fits."""
    assert graph.calibration is not None
    some = graph.calibration[np.linspace(0, 39, 32).round().astype(int)]
    pixels = torch.from_numpy(some.transpose(0, 3, 1, 2).copy())
    exact = graph.module(pixels)
    errors, sizes = {}, {}
    for name in ("first", "deep", "narrow", "wide", "last"):
        weight = graph.module.get_parameter(f"network.{name}.weight")
        kept = weight.clone()
        for channel in weight.data:
            step = float(channel.abs().max()) / 127
            channel.copy_(torch.round(channel / step) * step)
        errors[f"network.{name}"] = float((graph.module(pixels) - exact).norm() / (exact - exact.mean(0)).norm())
        sizes[f"network.{name}"] = weight.numel()
        weight.data.copy_(kept)
    assert layers.errors == pytest.approx(errors, rel=1e-3)
    assert layers.values == sum(sizes.values()) == 432 + 144 + 128 + 320 + 320
    for share in (0.05, SHARE, 0.6, 0.9):
        left, kept = share * 1344, []
        for name in sorted(sizes, key=lambda name: errors[name] ** 2 / sizes[name], reverse=True):
            if sizes[name] <= left and errors[name] ** 2 > 0.001 * sum(error**2 for error in errors.values()):
                left -= sizes[name]
                kept.append(name)
        assert list(chosen(graph, share).weights) == kept
    assert list(layers.weights) == ["network.narrow"]
    assert not chosen(graph, 0.05).weights
    assert "network.narrow" not in chosen(graph, 0.9, spared=128).errors


def test_the_chosen_layers_are_float_in_the_file_and_lower_its_error(
    graph: DeployGraph, content: bytes, layers: FloatLayers, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    result, about, exempt = smaller(content, "w8", layers)
    found = stored(result)
    assert {each.values for each in found if each.kind == TFLite.stored["fp32"]} == {128}
    assert {each.name for each in found if each.kind == TFLite.stored["fp32"]} == exempt
    require(found, "w8", TFLite.stored, path, exempt=exempt)
    record = about["quantization"]["float_weights"]
    assert (record["kept"], record["unused"], record["images"]) == ({"network.narrow": 128}, [], 32)
    assert record["share"] == pytest.approx(128 / 1344, abs=1e-6)
    assert record["errors"].keys() == layers.errors.keys()
    # More weights of other layers do not help as much.
    others = converted(content, "w8", in_float=weights_of(content, layer_weights(graph, "wide", "last")))
    assert sum(each.values for each in stored(others) if each.kind == TFLite.stored["fp32"]) == 320 + 320
    right, other, none = (error(path, each, graph) for each in (result, others, converted(content, "w8")))
    assert right < 0.5 * other
    assert right < 0.5 * none


def layer_weights(graph: DeployGraph, *names: str) -> dict[str, np.ndarray]:
    return {name: graph.module.get_parameter(f"network.{name}.weight").numpy() for name in names}


def test_no_other_weights_may_be_float(graph: DeployGraph, content: bytes, layers: FloatLayers, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    _, _, exempt = smaller(content, "w8", layers)
    more = weights_of(content, {**layers.weights, **layer_weights(graph, "first")})
    with pytest.raises(CompressError, match=r"1 of 4 operations are not w8, .*weights float32"):
        require(stored(converted(content, "w8", in_float=more)), "w8", TFLite.stored, path, exempt=exempt)
    with pytest.raises(CompressError, match=r"m\.tflite: the weights '.*' are not in float"):
        require(stored(converted(content, "w8")), "w8", TFLite.stored, path, exempt=exempt)


def test_a_layer_that_the_file_lacks_is_recorded(content: bytes, layers: FloatLayers) -> None:
    rewritten = replace(layers, weights={"network.gone": np.ones((4, 36), np.float32)})
    result, about, exempt = smaller(content, "w8", rewritten)
    assert (about["quantization"]["float_weights"]["unused"], exempt) == (["network.gone"], frozenset())
    assert about["quantization"]["float_weights"]["kept"] == {}
    assert result == converted(content, "w8")


def test_without_the_option_nothing_changes(content: bytes, graph: DeployGraph) -> None:
    assert not TFLite(precision="w8").float_layers(graph).weights
    assert smaller(content, "w8", FloatLayers()) == (converted(content, "w8"), {}, frozenset())


def test_it_takes_training_images(tinted: Callable[..., np.ndarray]) -> None:
    train = ImageSet(tinted(12, *SIZE), np.arange(12) % 4, tuple("abcdefghijkl"))
    assert calibration_images(TFLite(precision="w8"), train, 0) is None
    exporter = TFLite(precision="w8", float_weights=0.1, calibration_images=8)
    found = calibration_images(exporter, train, 0)
    assert found is not None
    assert len(found) == 8


@pytest.mark.parametrize(
    ("suffix", "precision"), [(".tflite", "fp32"), (".tflite", "w8a8"), (".pt", "fp32"), (".mlpackage", "p6")]
)
def test_it_is_refused_where_it_means_nothing(suffix: str, precision: str) -> None:
    with pytest.raises(BadInput, match=rf"float_weights: is an option of .*w8.*, not of {precision}; remove it"):
        find_exporter(suffix)(precision=precision, float_weights=0.1)


@pytest.mark.every_change("pt")
@pytest.mark.parametrize("case", ["tflite-w8", "tflite-w8a32", "pt-w8", "ptl-w8", "mlpackage-w8"])
def test_every_format_keeps_them(case: str, images: np.ndarray, tmp_path: Path) -> None:
    suffix, _, precision = case.partition("-")
    width, share, values, weights = 40, SHARE, 128, {"float32": 128, "int8": 432 + 144 + 320 + 320}
    if suffix == "mlpackage":  # never rounds layers of at most 2,048 weights
        width, share, values, weights = 320, 0.5, 2560, {"float16": 432 + 144 + 128 + 2560, "int8": 2560}
    path = tmp_path / f"m.{suffix}"
    exporter = find_exporter(path.suffix)(precision=precision, float_weights=share)
    exporter.write(made(images, width), path)
    details = exporter.details(path)
    assert list(details["quantization"]["float_weights"]["kept"].values()) == [values]
    assert details["quantization"]["float_weights"]["unused"] == []
    assert details["stored"]["weights"] == weights
