"""Compute the activations of a float .tflite file, and their ranges on calibration images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from exporters._finite import INFINITE, finite_ends
from exporters._learned_ranges import fingerprint
from exporters._tflite_file import builtin, constant, packed, read
from exporters._tflite_stored import WEIGHTED

LEAST = 1e-3
"""Smallest range. Below it, the products with the next weights have so small a scale that an int32 bias overflows."""

_LARGEST_RATIO = 64


def activation_ranges(
    content: bytes,
    images: np.ndarray,
    learned: Mapping[str, tuple[float, float]] | None = None,
    least: float = LEAST,
) -> dict[str, tuple[float, float]]:
    """Find the smallest and largest finite value of every float activation, by tensor name; every range contains 0.

    A ReLU that is 0 for all calibration images has the range [0, 0], and with a scale of nearly 0 XNNPACK rejects the
    whole file or aborts the process: it needs input scale x weight scale < 256 x output scale. So the range after an
    operation with weights is extended until that ratio is 64.

    Args:
        content: a float file in which no constant has the name of an activation.
        images: uint8 [N, H, W, 3].
        learned: ranges that replace the measured ones, by tensor name.
        least: smallest width of a range; 0 keeps the ranges as measured.
    """
    model = read(content)
    numbers = _activations(model)
    names = {number: model.subgraphs[0].tensors[number].name.decode() for number in numbers}
    low, high = dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, 0.0)
    for values in _values(content, numbers, images):
        for number, value in values.items():
            least_value, largest_value = finite_ends(value)
            low[number] = min(low[number], least_value)
            high[number] = max(high[number], largest_value)
    for number, name in names.items():
        if learned and name in learned:
            low[number], high[number] = learned[name]
    if least:
        _raise_to_least(model, low, high, least)
    return {names[number]: (low[number], high[number]) for number in numbers}


def with_finite_paddings(content: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """Replace infinite paddings, as the converter writes before a max pool, by the end of the range of what they pad.

    No quantized value lies beyond that end, so the pool gives the same.
    """
    model = read(content)
    (graph,) = model.subgraphs
    changed = False
    for operation in graph.operators:
        if builtin(model, operation) != schema.BuiltinOperator.PADV2:
            continue
        data, _, padding = (graph.tensors[number] for number in operation.inputs)
        value, name = constant(model, padding), data.name.decode()
        if value is None or padding.type != schema.TensorType.FLOAT32 or name not in ranges:
            continue
        (number,) = value.view(np.float32)
        if not abs(number) < INFINITE:
            model.buffers.append(schema.BufferT())
            padding.buffer = len(model.buffers) - 1  # others may read the old one
            end = ranges[name][0] if number < 0 else ranges[name][1]
            model.buffers[padding.buffer].data = np.array([end], np.float32).view(np.uint8)
            changed = True
    return packed(model) if changed else content


def fingerprints(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Fingerprints of the activations for ``_learned_ranges``: tensor name -> float64 [N, 19]."""
    model = read(content)
    numbers = _activations(model)
    each = [{n: fingerprint(value) for n, value in values.items()} for values in _values(content, numbers, images)]
    return {model.subgraphs[0].tensors[n].name.decode(): np.stack([image[n] for image in each]) for n in numbers}


def _activations(model: Any) -> list[int]:
    (graph,) = model.subgraphs
    made = (number for operation in graph.operators for number in operation.outputs)
    return [number for number in made if graph.tensors[number].type == schema.TensorType.FLOAT32]


def _values(content: bytes, numbers: list[int], images: np.ndarray) -> Iterator[dict[int, np.ndarray]]:
    """Yield the tensors with these numbers, image by image."""
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        yield {number: interpreter.get_tensor(number) for number in numbers}


def _raise_to_least(model: Any, low: dict[int, float], high: dict[int, float], least: float) -> None:
    (graph,) = model.subgraphs
    for operation in graph.operators:
        limit = least
        if builtin(model, operation) in WEIGHTED:
            data, weights, *_ = operation.inputs
            values = constant(model, graph.tensors[weights])
            if data in high and values is not None:
                # The ranges of input and output have 255 steps, and one side of the weights' range has 127.
                largest = float(np.abs(values.view(np.float32)).max())
                limit = max(least, (high[data] - low[data]) * largest / 127 / _LARGEST_RATIO)
        for number in operation.outputs:
            if number in high:
                high[number] = max(high[number], low[number] + limit)
