"""Smaller precisions: what the files store, that they still retrieve, and that they load everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from architectures import create_model
from compress.contracts import BadInput, CompressError, DeployGraph, Exporter
from compress.options import build_component
from exporters import _tflite_quantize, export_model, find_exporter
from exporters._mixed import FloatKind
from exporters._stored import require
from exporters._tflite_file import builtin, packed, read
from exporters._tflite_metadata import with_end_names
from exporters._tflite_quantize import converted, integers, quantized
from exporters._tflite_ranges import activation_ranges
from exporters._tflite_stored import stored
from exporters.coreml import CoreML
from exporters.tflite import TFLite
from tests.exporters._runners import MEAN, QUANTIZED, STD, min_cosine, reference, run
from validators.isolation import execute
from validators.runtimes.litert import LiteRT
from validators.runtimes.tflite_runtime import TFLiteRuntime

SIZE = (32, 48)
CLOSE = {"fp16": 0.999, "w8": 0.97, "w8a32": 0.95, "w8a8": 0.9, "p8": 0.97, "p6": 0.9, "p4": 0.5, "w4": 0.9}
"""Cosines for a network with random gains, which rounding moves more than a trained one."""
STORED = {"fp16": "float16", "p8": "palette8", "p6": "palette6", "p4": "palette4", "w4": "int4"}
IOS = {"w8": 16, "p8": 16, "p6": 16, "p4": 16, "w4": 18}

MIXED: tuple[FloatKind, ...] = ("sigmoid", "mul")
"""Kinds of operations that the mixed file keeps in float."""

every_precision = pytest.mark.parametrize(
    ("suffix", "precision"), QUANTIZED, ids=["-".join(pair) for pair in QUANTIZED]
)
every_tflite = pytest.mark.parametrize("precision", [p for s, p in QUANTIZED if s == ".tflite"])


@pytest.fixture(scope="module")
def network(calibrate: Callable[..., nn.Module]) -> nn.Module:
    """An ALNet of two blocks with grouped and depthwise convolutions, shuffles and attention."""
    torch.manual_seed(2)
    options = {"widths": (16, 64), "strides": (2, 2), "expansions": (1, 6), "head_width": 512}
    return calibrate(create_model("alnet", **options), *SIZE)


@pytest.fixture(scope="module")
def calibration(tinted: Callable[..., np.ndarray]) -> np.ndarray:
    return tinted(40, *SIZE)


@pytest.fixture(scope="module")
def images(tinted: Callable[..., np.ndarray]) -> np.ndarray:
    """None of the calibration images."""
    return tinted(12, *SIZE, first=1000)


@pytest.fixture(scope="module")
def expected(network: nn.Module, images: np.ndarray) -> np.ndarray:
    return reference(network, images)


@pytest.fixture(scope="module")
def content(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = export_model(network, tmp_path_factory.mktemp("float") / "m.tflite", input_size=SIZE)
    return path.read_bytes()


@pytest.fixture(scope="module")
def tflite(content: bytes, calibration: np.ndarray) -> dict[str, bytes]:
    """The network's TFLite file by precision."""
    smaller = {precision: with_end_names(converted(content, precision)) for precision in ("fp16", "w8", "w8a32")}
    return {
        "fp32": content,
        **smaller,
        "w8a8": w8a8(content, calibration),
        "mixed": w8a8(content, calibration, keep_float=MIXED),
    }


def w8a8(content: bytes, calibration: np.ndarray, **options: Any) -> bytes:
    graph = DeployGraph(nn.Identity(), SIZE, {}, calibration)
    return with_end_names(integers(content, graph, TFLite(precision="w8a8", **options))[0])


# ------------------------------------------------------------------------------------------------- every precision


@pytest.mark.every_change(".tflite-w8a8")
@every_precision
def test_the_file_holds_what_its_name_says_and_gives_what_pytorch_gives(
    suffix: str,
    precision: str,
    network: nn.Module,
    calibration: np.ndarray,
    images: np.ndarray,
    expected: np.ndarray,
    tmp_path: Path,
) -> None:
    given = calibration if precision == "w8a8" else None
    path = export_model(network, tmp_path / f"m{suffix}", input_size=SIZE, precision=precision, calibration=given)
    details = find_exporter(suffix)(precision=precision).details(path)
    weights = details["stored"]["weights"]
    assert max(weights, key=weights.__getitem__) == STORED.get(precision, "int8")
    assert details.get("minimum_ios") == (IOS[precision] if suffix == ".mlpackage" else None)

    right, swapped = (run(path, np.ascontiguousarray(each)) for each in (images, images[..., ::-1]))
    assert right.dtype == np.float32
    assert right.shape == expected.shape
    assert min_cosine(right, expected) >= CLOSE[precision]
    assert min_cosine(swapped, expected) < min_cosine(right, expected)


class ByLength(nn.Module):
    """Divides each channel by its length over the image, which is 0 where a black one gives a negative value."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3, 2, bias=False), nn.Conv2d(8, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv(x))
        lengths = maps.square().sum((2, 3), keepdim=True).sqrt() + 1e-3
        found: torch.Tensor = self.last(maps / lengths).mean((2, 3))
        return found


@pytest.mark.nightly
def test_a_divisor_of_nearly_zero_does_not_stop_a_file_with_integers(
    calibration: np.ndarray, images: np.ndarray, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network, black = ByLength().eval(), np.zeros_like(images[:1])
    given = np.concatenate([black, calibration])
    path = export_model(network, tmp_path / "m.tflite", input_size=SIZE, precision="w8a8", calibration=given)
    shown = np.concatenate([black, images[:3]])
    right = reference(network, shown)
    assert (np.linalg.norm(run(path, shown) - right, axis=1) < 0.1 * np.linalg.norm(right, axis=1)).all()
    model = read(path.read_bytes())
    (graph,) = model.subgraphs
    types = {
        builtin(model, each): graph.tensors[each.outputs[0]].type
        for each in graph.operators
        if builtin(model, each) in (schema.BuiltinOperator.DIV, schema.BuiltinOperator.CONV_2D)
    }
    assert types == {
        schema.BuiltinOperator.DIV: schema.TensorType.FLOAT32,
        schema.BuiltinOperator.CONV_2D: schema.TensorType.INT8,
    }


@every_tflite
def test_input_output_and_signature_stay(precision: str, tflite: dict[str, bytes]) -> None:
    ends = []
    for each in ("fp32", precision):
        interpreter = Interpreter(model_content=tflite[each])
        details = (*interpreter.get_input_details(), *interpreter.get_output_details())
        ends.append(([(d["name"], d["dtype"], d["shape"].tolist()) for d in details], interpreter.get_signature_list()))
    assert ends[0] == ends[1]


# ------------------------------------------------------------------------------------------------- types read back


def test_no_file_passes_under_another_name(tflite: dict[str, bytes]) -> None:
    pairs = list(itertools.product(TFLite.stored, repeat=2))
    assert len(pairs) == 25
    for real, name in pairs:
        found = stored(tflite[real])
        assert len(found) > 10
        if real == name:
            require(found, name, TFLite.stored, Path("m.tflite"))
        else:
            with pytest.raises(CompressError, match=rf"m\.tflite: \d+ of \d+ operations are not {name}"):
                require(found, name, TFLite.stored, Path("m.tflite"))


def test_one_float_convolution_among_quantized_ones_is_found(tflite: dict[str, bytes]) -> None:
    mixed = [*stored(tflite["w8"]), stored(tflite["fp32"])[0]]
    with pytest.raises(CompressError, match=rf"1 of {len(mixed)} operations are not w8, .*weights float32"):
        require(mixed, "w8", TFLite.stored, Path("m.tflite"))


def test_nothing_to_quantize_is_no_quantized_file(tmp_path: Path) -> None:
    pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(CompressError, match=r"m\.mlpackage: no weights of more than 2048 values, so p6 saves nothing"):
        export_model(pooling, tmp_path / "m.mlpackage", input_size=16, precision="p6")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- calibration


def test_ranges_are_those_of_the_images(images: np.ndarray, tmp_path: Path) -> None:
    """The mean colour of every image, recomputed in NumPy; a range holds 0 even where no value is that small."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for shift, low in ((MEAN, None), ((0.0, 0.0, 0.0), 0.0)):
        content = export_model(network, tmp_path / "m.tflite", input_size=SIZE, mean=shift, std=STD).read_bytes()
        colours = (images.mean((1, 2)) / 255 - shift) / STD
        found = activation_ranges(content, images)["embedding"]
        assert found == pytest.approx((colours.min() if low is None else low, colours.max()), rel=1e-5)


def test_the_same_images_give_the_same_bytes_and_others_do_not(
    content: bytes, tflite: dict[str, bytes], calibration: np.ndarray
) -> None:
    assert w8a8(content, calibration) == tflite["w8a8"]
    assert w8a8(content, calibration // 2) != tflite["w8a8"]


@pytest.mark.parametrize(
    "runtime",
    [LiteRT(), LiteRT(xnnpack=False), TFLiteRuntime(), TFLiteRuntime(xnnpack=False)],
    ids=lambda runtime: runtime.title(),
)
def test_integers_run_with_and_without_xnnpack_on_old_and_new_runtimes(
    runtime: LiteRT | TFLiteRuntime, tflite: dict[str, bytes], images: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    for content in (tflite["w8a8"], tflite["mixed"]):
        (tmp_path / "m.tflite").write_bytes(content)
        done = execute(runtime, tmp_path / "m.tflite", {"images": images})
        assert done.outputs is not None, done.failure
        assert min_cosine(done.outputs["images"], expected) >= CLOSE["w8a8"]


class _Dead(nn.Module):
    """The first convolution's ReLU never fires, so the second sees zeros and gives its bias; a third is alive."""

    def __init__(self) -> None:
        super().__init__()
        self.dead, self.after, self.alive = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(3, 4, 3)
        nn.init.constant_(self.dead.bias, -100)  # type: ignore[arg-type]
        nn.init.constant_(self.after.bias, 1.5)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.after(self.dead(x).relu()), self.alive(x).relu()], 1)
        return joined.mean((2, 3))


def test_a_dead_activation_neither_aborts_nor_distorts(tinted: Callable[..., np.ndarray], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, probes = _Dead(), tinted(8, 16, 16)
    path = export_model(network, tmp_path / "m.tflite", input_size=16)
    plain = path.read_bytes()
    path.write_bytes(quantized(plain, activation_ranges(plain, probes)))
    done = execute(LiteRT(), path, {"images": probes})
    assert done.outputs is not None, done.failure
    assert done.outputs["images"] == pytest.approx(reference(network, probes), abs=0.05)
    # The control: ranges as measured.
    path.write_bytes(quantized(plain, activation_ranges(plain, probes, least=0)))
    assert execute(LiteRT(), path, {"images": probes}).outputs is None


# ------------------------------------------------------------------------------------------------- mixed precision


def float_operations(content: bytes) -> set[str]:
    """The operations that give float32, but for conversions."""
    model = read(content)
    (graph,) = model.subgraphs
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    found = {
        names[builtin(model, operation)]
        for operation in graph.operators
        if graph.tensors[operation.outputs[0]].type == schema.TensorType.FLOAT32
    }
    return found - {"DEQUANTIZE", "CAST"}


def test_kinds_stay_in_float_as_asked_and_convolutions_never(tflite: dict[str, bytes]) -> None:
    assert float_operations(tflite["w8a8"]) == set()
    # Maxima of what MUL gives, and moves of what LOGISTIC gives.
    moves = {"RESHAPE", "TRANSPOSE", "SLICE"}
    assert float_operations(tflite["mixed"]) - moves == {"REDUCE_MAX", "LOGISTIC", "MUL"}
    require(stored(tflite["mixed"]), "w8a8", TFLite.stored, Path("m.tflite"))


def test_maxima_of_integers_are_those_in_float(
    content: bytes,
    calibration: np.ndarray,
    tflite: dict[str, bytes],
    images: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_tflite_quantize, "with_integer_maxima", lambda written: written)
    in_float = w8a8(content, calibration)
    assert float_operations(in_float) == {"REDUCE_MAX"}
    model = read(tflite["w8a8"])
    (graph,) = model.subgraphs
    maxima = [each for each in graph.operators if builtin(model, each) == schema.BuiltinOperator.REDUCE_MAX]
    assert len(maxima) == 8
    for each in maxima:  # the control: maxima of another scale than their map's
        quantization = graph.tensors[each.outputs[0]].quantization
        quantization.scale = [0.5 * quantization.scale[0]]
    right, same, wrong = (first_maxima(each, images) for each in (in_float, tflite["w8a8"], packed(model)))
    assert right.std() > 5
    assert np.abs(same - right).max() <= 1  # the conversion between two scales rounds ties otherwise
    assert np.abs(wrong - right).max() > 5


def first_maxima(content: bytes, images: np.ndarray) -> np.ndarray:
    """The integers of a file's first maximum over an axis, after it was converted to its own scale."""
    model = read(content)
    (graph,) = model.subgraphs
    maximum = next(each for each in graph.operators if builtin(model, each) == schema.BuiltinOperator.REDUCE_MAX)
    (conversion,) = (each for each in graph.operators if each.inputs[0] == maximum.outputs[0])
    assert builtin(model, conversion) == schema.BuiltinOperator.QUANTIZE
    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    found = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(conversion.outputs[0]).astype(int))
    return np.stack(found)


# ------------------------------------------------------------------------------------------------- bad input


def test_float_operations_are_those_of_integer_files() -> None:
    with pytest.raises(BadInput, match="keep_float: tflite w8 computes in float anyway"):
        TFLite(precision="w8", keep_float=("sigmoid",))
    with pytest.raises(BadInput, match="float_tolerance: is that of 'keep_float: auto'"):
        TFLite(precision="w8a8", float_tolerance=0.1)
    with pytest.raises(BadInput, match=r"export\.1\.tflite\.keep_float.*sigmoids"):
        build_component(Exporter, "tflite", {"precision": "w8a8", "keep_float": ["sigmoids"]}, "export.1.tflite")


def test_calibration_images_belong_to_calibrated_precisions() -> None:
    assert TFLite(precision="w8a8", calibration_images=64).calibration_images == 64
    with pytest.raises(BadInput, match=r"calibration_images: tflite w8 uses no .*\(precisions that do: w8a8\)"):
        TFLite(precision="w8", calibration_images=64)


def test_int4_needs_ios_18() -> None:
    assert CoreML(precision="w4").ios == 18
    assert CoreML(precision="p4").ios == 16
    with pytest.raises(BadInput, match=r"minimum_ios: 16, but Core ML stores w4 from iOS 18 on"):
        CoreML(precision="w4", minimum_ios=16)
