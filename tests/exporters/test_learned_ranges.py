"""Ranges learnt in training reach the written files: each at the tensor that holds its value, none unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper

from architectures.alnet import ALNet
from compress.contracts import CompressError, EmbeddingSpec, LearnedRange, Model, Preprocess
from compress.model.quantized_values import stored_values, traced
from compress.stages.qat import _Simulated
from exporters import deploy
from exporters._learned_ranges import fingerprint, match, summary
from exporters._tflite_metadata import with_end_names
from exporters._tflite_quantize import integers
from exporters.onnx import Onnx
from exporters.tflite import TFLite
from tests.exporters._runners import min_cosine, normalised, reference, run

SIZE = (24, 32)
DISSOLVED = {"cat", "cat_1", "cat_2"} | {
    f"{place}_mlp_{layer}" for place in ("stem_1_0", "blocks_0_4_0", "head_1_0") for layer in (2, 5)
}
"""What the rewrites replace: CBAM's second layer, applied once to a sum, and the input of its tiled convolution."""


NOT_INTEGERS = {".onnx": {"pool"}, ".tflite": {"stem_1_1_conv", "blocks_0_4_1_conv", "head_1_1_conv"}}
"""What the file holds, but as float, or with the range of a larger map that it is cut out of."""


@pytest.fixture(scope="module")
def images(tinted: Callable[..., np.ndarray]) -> np.ndarray:
    return tinted(16, *SIZE)


@pytest.fixture(scope="module")
def model(calibrate: Callable[..., Any], images: np.ndarray) -> Model:
    """Its ranges are those of the images, widened by factors of which no two are equal."""
    torch.manual_seed(4)
    options = ALNet(stem_stride=2, stem_width=32, widths=(64,), strides=(2,), expansions=(1,), head_width=64)
    network = calibrate(options.build(), *SIZE)
    graph = traced(network)
    seen: dict[str, torch.Tensor] = {}
    interpreter = torch.fx.Interpreter(graph, garbage_collect_values=False)
    with torch.no_grad():
        interpreter.run(normalised(torch.from_numpy(images).permute(0, 3, 1, 2)))
    for node in stored_values(graph):
        seen[node.name] = interpreter.env[node]
    ranges = {
        name: (min(float(value.min()), 0) * (1.1 + number / 100), max(float(value.max()), 0) * (1.1 + number / 100))
        for number, (name, value) in enumerate(seen.items())
        if "sigmoid" not in name
    }
    assert len(ranges) > 15
    return Model(options, network, (), Preprocess(SIZE), EmbeddingSpec(64), ranges=ranges)


@pytest.fixture(scope="module")
def content(model: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The float .tflite file."""
    path = tmp_path_factory.mktemp("float") / "m.tflite"
    TFLite().write(deploy(model, name="m", license="none"), path)
    return path.read_bytes()


def write(model: Model, images: np.ndarray, content: bytes, path: Path) -> dict[str, Any]:
    """The w8a8 file, and what is said of how it was made."""
    graph = deploy(model, name="m", license="none", calibration=images)
    if path.suffix == ".onnx":
        exporter = Onnx(precision="w8a8")
        exporter.write(graph, path)
        return dict(exporter.details(path)["quantization"])
    smaller, said = integers(content, graph, TFLite(precision="w8a8"))
    path.write_bytes(with_end_names(smaller))
    return said


def tflite_steps(path: Path) -> np.ndarray:
    """Every activation's step and smallest value, [n, 2]."""
    details = Interpreter(str(path)).get_tensor_details()
    found = [(d["quantization"][0], (-128 - d["quantization"][1]) * d["quantization"][0]) for d in details]
    return np.array([each for each in found if each[0]])


def onnx_steps(path: Path) -> np.ndarray:
    content = onnx.load(path)
    constants = {each.name: numpy_helper.to_array(each) for each in content.graph.initializer}
    nodes = [node for node in content.graph.node if node.op_type == "QuantizeLinear"]
    pairs = [(float(constants[node.input[1]]), int(constants[node.input[2]])) for node in nodes]
    return np.array([(scale, -zero * scale) for scale, zero in pairs])


@pytest.mark.nightly
@pytest.mark.parametrize(("suffix", "steps"), [(".tflite", tflite_steps), (".onnx", onnx_steps)])
def test_each_range_is_the_files_or_is_listed_as_unused(
    suffix: str,
    steps: Callable[[Path], np.ndarray],
    model: Model,
    images: np.ndarray,
    content: bytes,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"m{suffix}"
    said = write(model, images, content, path)
    learned = said["learned_ranges"]
    assert learned["used"] + len(learned["unused"]) == len(model.ranges)
    assert set(learned["unused"]) <= DISSOLVED | NOT_INTEGERS[suffix]
    found = steps(path)
    for name, (low, high) in model.ranges.items():
        step = (high - low) / 255
        held = (np.abs(found[:, 0] - step) < 1e-5 * step) & (np.abs(found[:, 1] - low) <= step)
        assert held.any() == (name not in learned["unused"]), name
    assert min_cosine(run(path, images), reference(model.network, images)) > 0.9


def test_the_file_gives_what_training_saw(model: Model, images: np.ndarray, content: bytes, tmp_path: Path) -> None:
    """Ranges too narrow clip in the file what they clip in training; the control is the network without rounding."""
    narrow = {name: (0.5 * low, 0.5 * high) for name, (low, high) in model.ranges.items()}
    write(replace(model, ranges=narrow), images, content, tmp_path / "m.tflite")
    simulated = _Simulated(model.network, momentum=0.01).eval()
    for name, limits in narrow.items():
        simulated.body.get_buffer(f"{_Simulated.PREFIX}{name}.limits").copy_(torch.tensor(limits))
    with torch.no_grad():
        seen = simulated.embed(normalised(torch.from_numpy(images).permute(0, 3, 1, 2))).numpy()
    found = run(tmp_path / "m.tflite", images)
    assert np.linalg.norm(found - seen) < 0.2 * np.linalg.norm(found - reference(model.network, images))


def test_ranges_of_another_network_are_refused(model: Model, images: np.ndarray) -> None:
    with pytest.raises(CompressError, match=r"ranges: the network has no value 'mul_99'"):
        deploy(replace(model, ranges={"mul_99": (0.0, 1.0)}), name="m", license="none", calibration=images)


def prints(*images: np.ndarray) -> np.ndarray:
    return np.stack([fingerprint(image) for image in images])


def test_a_tensor_is_recognised_in_any_order_and_shape_and_nothing_else_is() -> None:
    generator = np.random.default_rng(0)
    one, other = (generator.normal(size=(2, 8, 6, 6)).astype(np.float32) for _ in range(2))
    learned = [LearnedRange("one", -1.0, 2.0, prints(*one)), LearnedRange("other", -3.0, 4.0, prints(*other))]
    moved = generator.permutation(one.reshape(2, -1).T).T.reshape(2, 6, 6, 8) * np.float32(1 + 1e-6)
    found = match(
        learned,
        {
            "moved": prints(*moved),
            "other": prints(*other),
            "scaled": prints(*one * 1.01),
            "clipped": prints(*one.clip(min=0)),
            "part": prints(*one[:, :4]),
            "swapped": prints(one[1], one[0]),
            "dead": prints(*one * 0),
        },
    )
    assert {name: each.name for name, each in found.items()} == {"moved": "one", "other": "other"}
    assert match([LearnedRange("dead", 0.0, 1.0, prints(*one * 0))], {"dead": prints(*one * 0)}) == {}


def test_a_range_that_the_quantizer_replaced_is_not_used() -> None:
    one, other = (LearnedRange(name, -1.0, high, np.zeros((1, 19))) for name, high in (("one", 1.55), ("other", 4.1)))
    matched = {"a": one, "b": one, "c": other}
    said = summary([one, other], matched, {"a": 0.01, "b": 0.03, "c": 0.01})  # 2.55 / 255 and 5.1 / 255 were learnt
    assert said == {"learned_ranges": {"used": 1, "unused": ["other"]}}
    with pytest.raises(CompressError, match="none of the values whose ranges were learnt"):
        summary([one, other], matched, {"a": 0.03})


def test_a_fingerprint_by_hand() -> None:
    values = np.array([[3.0, 0.0], [1.0, 2.0]])
    count, *quantiles, mean = fingerprint(values).tolist()
    assert (count, mean) == (4, 1.5)
    assert quantiles == pytest.approx([3 * number / 16 for number in range(17)])
