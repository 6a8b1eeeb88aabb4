"""Rounding as declared, value ranges and their notes, batches, and errors that name what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from tests.validators.mlprogram._build import SHAPE, photos, scaled, write
from validators.gates import limits_on
from validators.isolation import execute
from validators.measure import executed
from validators.mlprogram.execute import Executor
from validators.mlprogram.program import load
from validators.results import Measurement, Parity
from validators.runtimes.coreml_reference import CoreMLReference

h = np.float16


def run(path: Path, count: int = 3) -> tuple[np.ndarray, Executor]:
    executor = Executor(load(path))
    return executor(photos(count)), executor


def edited(path: Path, change: Callable[[Any], object]) -> Path:
    """The package with its specification changed."""
    file = path / "Data/com.apple.CoreML/model.mlmodel"
    spec = ct.models.utils.load_spec(str(path))
    change(spec)
    file.write_bytes(spec.SerializeToString())
    return path


def operations(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


# ----------------------------------------------------------------------------------------------------------- types


def test_every_result_is_rounded_to_half_precision_where_the_program_says_so(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.mul(x=mb.exp(x=mb.mul(x=x, y=h(3.3))), y=h(0.7))

    found, _ = run(write(tmp_path / "half.mlpackage", build, half=True))
    x = scaled(photos(3)).astype(np.float16)
    steps = (x * h(3.3), lambda v: np.exp(v.astype(np.float32)).astype(np.float16), lambda v: v * h(0.7))
    expected = steps[2](steps[1](steps[0]))
    assert np.array_equal(found, expected.reshape(3, -1).astype(np.float32))
    single = np.exp(scaled(photos(3)) * 3.3) * 0.7
    assert np.abs(found - single.reshape(3, -1)).max() > 1e-3


def test_images_of_any_number_and_one_by_one_give_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.softmax(x=x, axis=1))
    found, executor = run(path, 130)
    assert found.shape == (130, 240)
    np.testing.assert_allclose(np.concatenate([executor(image[None]) for image in photos(130)]), found, atol=1e-7)
    assert not np.allclose(found[0], found[1], atol=1e-3)


def test_sizes_that_depend_on_the_image(tmp_path: Path) -> None:
    """Such a program cannot run in batches: each image takes its own way."""

    def build(x: Any) -> Any:
        start = mb.cast(x=mb.mul(x=mb.reduce_max(x=mb.abs(x=x)), y=np.float32(3)), dtype="int32")
        begin = mb.stack(values=[np.int32(0), np.int32(0), np.int32(0), start], axis=0)
        return mb.slice_by_size(x=x, begin=begin, size=[1, 4, 6, 5])

    path = write(tmp_path / "dynamic.mlpackage", build)
    pixels = photos(3)
    pixels[1] = pixels[1] // 4 + 96
    found = Executor(load(path))(pixels)
    for row, image in zip(found, scaled(pixels), strict=True):
        start = int(np.abs(image).max() * 3)
        assert np.array_equal(row, image[:, :, start : start + 5].ravel().astype(np.float32))


# ---------------------------------------------------------------------------------------------------------- ranges


def test_the_largest_activation_of_every_operation(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.mul(x=mb.sub(x=x, y=h(1), name="less"), y=h(8)), half=True)
    _, executor = run(path, 70)
    largest = {each.operation: each.largest for each in executor.ranges()}
    assert largest["sub 'less'"] == np.abs(scaled(photos(70)) - 1).max()
    assert executor.notes() == ()


@pytest.mark.every_change("factor0")
@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (h(6e4), "fp16 overflow: mul 'scaled_up' reaches 1.2e+05 of 65504"),
        (h(2e4), "fp16 nears overflow: mul 'scaled_up' reaches 4e+04 of 65504"),
        (h(1e-7), "non-zero results of mul 'scaled_up' round to zero"),
    ],
)
def test_half_precision_at_its_ends_is_noted(factor: np.float16, words: str, tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        doubled = mb.mul(x=mb.sub(x=x, y=h(1)), y=factor, name="scaled_up")
        return mb.clip(x=doubled, alpha=h(-1), beta=h(1))

    _, executor = run(write(tmp_path / "net.mlpackage", build, half=True))
    (note,) = executor.notes()
    assert words in note
    single = write(
        tmp_path / "single.mlpackage", lambda x: mb.mul(x=mb.sub(x=x, y=np.float32(1)), y=np.float32(factor))
    )
    assert run(single)[1].notes() == ()


def test_infinity_from_overflow_is_what_comes_out(tmp_path: Path) -> None:
    found, _ = run(write(tmp_path / "net.mlpackage", lambda x: mb.mul(x=mb.sub(x=x, y=h(1)), y=h(6e4)), half=True))
    assert np.isinf(found).any()


def test_a_saturated_sigmoid_is_no_underflow(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.sigmoid(x=mb.mul(x=x, y=h(100))), half=True)
    assert run(path)[1].notes() == ()


@pytest.mark.nightly
def test_notes_reach_the_bundle_and_a_reference_has_no_latency(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.mul(x=mb.sub(x=x, y=h(1)), y=h(2e4)), half=True)
    done = execute(CoreMLReference(), path, {"images": photos(2)})
    assert done.failure is None
    assert [note.split(":")[0] for note in done.notes] == ["fp16 nears overflow"]
    parity = Parity.unmeasured(None).model_copy(update={"min_cosine": 1.0})
    measured = Measurement(parity=parity, notes=done.notes)
    limits = limits_on("x86", "reference", {"min_cosine": 0.9, "latency_ms": 5}, "fp16")
    made = executed(CoreMLReference(), measured, None, limits, {})
    assert made.notes == done.notes
    assert made.evidence == "reference"
    assert [(gate.name, gate.passed) for gate in made.gates] == [("min_cosine", True)]
    json.dumps(made.to_json())


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.nightly
def test_unknown_operations_are_named_and_become_the_failed_check(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.relu(x=mb.relu(x=x)))

    def rename(spec: Any) -> None:
        for operation in operations(spec):
            if operation.type == "relu":
                operation.type = "fancy_relu"

    done = execute(CoreMLReference(), edited(path, rename), {"images": photos(1)})
    assert done.failure is not None
    assert "has no operation 'fancy_relu' (used 2 times; the program has" in done.failure
    assert "\n" not in done.failure


def test_an_unknown_argument_is_not_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.softmax(x=x, axis=1))

    def rename(spec: Any) -> None:
        (softmax,) = [operation for operation in operations(spec) if operation.type == "softmax"]
        softmax.inputs["temperature"].CopyFrom(softmax.inputs["axis"])

    with pytest.raises(ValueError, match=r"softmax '.*': arguments unknown \['temperature'\]"):
        Executor(load(edited(path, rename)))


def test_a_result_of_another_shape_than_declared_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.transpose(x=x, perm=[0, 2, 3, 1], name="turned"))

    def lie(spec: Any) -> None:
        (transpose,) = [operation for operation in operations(spec) if operation.type == "transpose"]
        transpose.outputs[0].type.tensorType.dimensions[1].constant.size = 7

    with pytest.raises(
        ValueError, match=r"transpose 'turned' gave the shape \[1, 6, 10, 4\], declared is \[1, 7, 10, 4\]"
    ):
        run(edited(path, lie))


@pytest.mark.parametrize("height", [9, 12])
def test_a_resize_whose_neighbours_apple_does_not_document_is_refused(height: int, tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        shape, mode = [height, 10], "NEAREST_NEIGHBOR"
        return mb.resize(x=x, shape=shape, resized_dims=np.uint32(2), interpolation_mode=mode, name="larger")

    with pytest.raises(ValueError, match=r"^resize 'larger': Apple does not document .* NEAREST_NEIGHBOR takes; use"):
        run(write(tmp_path / "net.mlpackage", build))


@pytest.mark.parametrize(("axes", "size"), [([1, 4, 60], 3), ([1, 4, 6, 10], 2)])
def test_sums_of_channels_that_apple_does_not_document_are_refused(axes: list[int], size: int, tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.local_response_norm(x=mb.reshape(x=x, shape=axes), size=size))
    with pytest.raises(ValueError, match=rf"^local_response_norm '.*which {size} channels .* of {len(axes)} axes"):
        run(path)


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    executor = Executor(load(write(tmp_path / "net.mlpackage", lambda x: mb.relu(x=x))))
    with pytest.raises(ValueError, match=r"takes images \[H,W,3\] of \[8, 10, 3\], these are \[10, 8, 3\]"):
        executor(photos(1).transpose(0, 2, 1, 3))


def test_a_model_that_takes_no_image_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "net.mlpackage", lambda x: mb.relu(x=x))
    array = ct.proto.FeatureTypes_pb2.ArrayFeatureType(shape=[1, *SHAPE[1:]], dataType=65568)
    with pytest.raises(ValueError, match="expected one input, an image, found: multiArrayType"):
        load(edited(path, lambda spec: spec.description.input[0].type.multiArrayType.CopyFrom(array)))


@pytest.mark.nightly
def test_a_blob_cut_short_is_a_failed_check(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 4, 3, 3)).astype(np.float32)
    path = write(tmp_path / "net.mlpackage", lambda x: mb.conv(x=x, weight=weight))
    blob = path / "Data/com.apple.CoreML/weights/weight.bin"
    blob.write_bytes(blob.read_bytes()[:200])
    done = execute(CoreMLReference(), path, {"images": photos(1)})
    assert done.outputs is None
    assert done.failure
