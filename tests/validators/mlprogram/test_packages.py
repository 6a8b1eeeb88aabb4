"""Networks: exported packages against PyTorch, compressed ones against their own dequantised weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from architectures import create_model
from exporters import export_model
from validators.mlprogram.execute import Executor
from validators.mlprogram.program import load

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = (45, 37)


def images(count: int, height: int, width: int) -> np.ndarray:
    """Coarse colour fields: on noise every image looks alike to a network."""
    coarse = torch.rand((count, 3, 5, 5), generator=torch.Generator().manual_seed(1))
    pixels = F.interpolate(coarse, (height, width), mode="bilinear") * 255
    return np.ascontiguousarray(pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def normalised(pixels: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


def calibrated(network: nn.Module, height: int, width: int) -> nn.Module:
    """Batch normalisation fitted, without which a fresh network gives all images one feature."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        network(normalised(images(40, height, width)))
    return network.eval()


def min_cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


@dataclass(frozen=True)
class Exported:
    """Attributes: embeddings: what PyTorch gives for ``images(70, *SIZE)``, more than one batch."""

    folder: Path
    embeddings: np.ndarray


# So many layers of its trunk hold every kind of operation a network has; those behind them are more of the same.
NETWORKS: dict[str, tuple[dict[str, Any], int | None]] = {
    "alnet": ({"widths": (16, 16, 24), "strides": (2, 2, 1), "expansions": (1, 3, 3), "head_width": 64}, None),
    "mobilenet_v2": ({}, 4),
    "mobilenet_v3": ({}, 6),
    "shufflenet_v2": ({}, 3),
    "efficientnet_b0": ({}, 3),
}


NIGHTLY = {"mobilenet_v2", "mobilenet_v3", "shufflenet_v2", "efficientnet_b0"}
"""Their kinds of operations are in the others, too."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.nightly] * (name in NIGHTLY)) for name in NETWORKS],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    options, layers = NETWORKS[request.param]
    network: Any = create_model(request.param, **options)
    if layers is not None:
        network.trunk = network.trunk[:layers]
    network = calibrated(network, *SIZE)
    folder = tmp_path_factory.mktemp(request.param)
    for precision in ("fp32", "fp16"):
        export_model(
            network,
            folder / f"{precision}.mlpackage",
            input_size=SIZE,
            precision=precision,
            metadata={"license": "CC0-1.0"},
        )
    with torch.no_grad():
        return Exported(folder, network(normalised(images(70, *SIZE))).numpy())


def test_every_architecture_gives_what_pytorch_gives(exported: Exported) -> None:
    pixels, expected = images(70, *SIZE), exported.embeddings
    assert min_cosine(expected[:35], expected[35:]) < 0.99
    for precision, limit in (("fp32", 0.99999), ("fp16", 0.99)):
        executor = Executor(load(exported.folder / f"{precision}.mlpackage"))
        found = executor(pixels)
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        assert min_cosine(found, expected) > limit
        # One at a time and in batches, kernels sum in another order.
        assert min_cosine(executor(pixels[:1]), found[:1]) > limit


# ---------------------------------------------------------------------------------------------------- compression

SMALL = (20, 24)


class Small(nn.Module):
    """Convolutions with enough weights for every compression, and an L2 norm at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.second = nn.Conv2d(32, 64, 3, stride=2)
        self.last = nn.Linear(64, 48)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(image / 128 - 1).relu()).sigmoid()
        return F.normalize(self.last(x.mean((2, 3))), dim=1)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ct.precision.FLOAT32, marks=pytest.mark.nightly, id="fp32"),
        pytest.param(ct.precision.FLOAT16, id="fp16"),
    ],
)
def converted(request: pytest.FixtureRequest) -> Callable[[ct.target], Any]:
    torch.manual_seed(0)
    program = torch.export.export(Small().eval(), (torch.zeros(1, 3, *SMALL),)).run_decompositions({})

    def convert(target: ct.target) -> Any:
        return ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.ImageType(name="image", shape=(1, 3, *SMALL))],
            outputs=[ct.TensorType(name="embedding", dtype=np.float32)],
            compute_precision=request.param,
            minimum_deployment_target=target,
            skip_model_load=True,
        )

    return convert


def _linear(**options: Any) -> Callable[[Any], Any]:
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=100, **options))
    return lambda model: cto.linear_quantize_weights(model, config)


def _palette(**options: Any) -> Callable[[Any], Any]:
    config = cto.OptimizationConfig(cto.OpPalettizerConfig(mode="kmeans", weight_threshold=100, **options))
    return lambda model: cto.palettize_weights(model, config)


def _pruned(model: Any) -> Any:
    config = cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=100))
    return cto.prune_weights(model, config)


def _pruned_then(compress: Callable[..., Any], config: Any) -> Callable[[Any], Any]:
    return lambda model: compress(_pruned(model), cto.OptimizationConfig(config), joint_compression=True)


IOS16, IOS18 = ct.target.iOS16, ct.target.iOS18
COMPRESSIONS: dict[str, tuple[ct.target, Callable[[Any], Any], set[str]]] = {
    "int8 symmetric": (IOS16, _linear(mode="linear_symmetric"), {"constexpr_affine_dequantize"}),
    "uint8": (IOS16, _linear(mode="linear", dtype="uint8"), {"constexpr_affine_dequantize"}),
    "palette 4": (IOS16, _palette(nbits=4), {"constexpr_lut_to_dense"}),
    "palette 6": (IOS16, _palette(nbits=6), {"constexpr_lut_to_dense"}),
    "palette 8": (IOS16, _palette(nbits=8), {"constexpr_lut_to_dense"}),
    "pruned": (IOS16, _pruned, {"constexpr_sparse_to_dense"}),
    "int4 blocks": (
        IOS18,
        _linear(mode="linear", dtype="int4", granularity="per_block", block_size=8),
        {"constexpr_blockwise_shift_scale"},
    ),
    "grouped palette 4": (
        IOS18,
        _palette(nbits=4, granularity="per_grouped_channel", group_size=8),
        {"constexpr_lut_to_dense"},
    ),
    "pruned int8": (
        IOS18,
        _pruned_then(cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(weight_threshold=100)),
        {"constexpr_sparse_blockwise_shift_scale", "constexpr_sparse_to_dense"},
    ),
    "pruned palette 4": (
        IOS18,
        _pruned_then(cto.palettize_weights, cto.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=100)),
        {"constexpr_lut_to_sparse", "constexpr_sparse_to_dense"},
    ),
}


@pytest.mark.every_change("fp16-pruned palette 4")
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_weights_are_what_coremltools_makes_of_them(
    name: str, converted: Callable[[ct.target], Any], tmp_path: Path
) -> None:
    target, compress, operations = COMPRESSIONS[name]
    compressed = compress(converted(target))
    plain = cto.decompress_weights(compressed)
    compressed.save(str(tmp_path / "compressed.mlpackage"))
    plain.save(str(tmp_path / "plain.mlpackage"))
    program = load(tmp_path / "compressed.mlpackage")
    assert {each.type for each in program.operations if each.type.startswith("constexpr_")} == operations
    pixels = images(3, *SMALL)
    executor = Executor(program)
    found, expected = executor(pixels), Executor(load(tmp_path / "plain.mlpackage"))(pixels)
    assert any("palettes of 4 bits" in note for note in executor.notes()) == name.endswith("palette 4")
    # coremltools multiplies half-precision scales in half precision, step by step; we round once.
    assert np.abs(found - expected).max() < 2e-3
    assert np.abs(found - expected).max() < 0.2 * np.abs(expected - expected.mean(0)).max()


# -------------------------------------------------------------------------------------------------------- control


def test_one_weight_changed_by_a_tenth_is_seen(converted: Callable[[ct.target], Any], tmp_path: Path) -> None:
    package, changed = tmp_path / "good.mlpackage", tmp_path / "changed.mlpackage"
    converted(IOS16).save(str(package))
    shutil.copytree(package, changed)
    program = load(package)
    (conv,) = [each for each in program.operations if each.type == "conv" and "first" in each.arguments["weight"][0]]
    weight = program.constants[conv.arguments["weight"][0]]
    assert isinstance(weight, np.ndarray)
    position = int(np.abs(weight).argmax())
    blob = changed / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(blob.read_bytes())
    start = content.index(weight.tobytes()) + position * weight.itemsize
    content[start : start + weight.itemsize] = (weight.ravel()[position] * 1.1).astype(weight.dtype).tobytes()
    blob.write_bytes(content)
    pixels = images(8, *SMALL)
    good, again, found = (Executor(load(each))(pixels) for each in (package, package, changed))
    assert np.array_equal(good, again)
    assert np.abs(found - good).max() > 1e-5
