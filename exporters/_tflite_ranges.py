"""Activation ranges of a float .tflite file, measured on calibration images."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from exporters._tflite_file import builtin, constant, read
from exporters._tflite_stored import WEIGHTED

LEAST = 1e-3
"""Of a range. Below it the products with the next weights are so fine that an int32 bias in their unit overflows."""

_LARGEST_RATIO = 64


def activation_ranges(content: bytes, images: np.ndarray, least: float = LEAST) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every float activation, by tensor name; every range holds 0.

    A ReLU that no calibration image excites has the range [0, 0], and a scale of nearly 0 makes XNNPACK refuse the
    whole file or abort the process: it needs input scale x weight scale < 256 x output scale. So the range behind an
    operation with weights is raised to where that ratio is 64.

    Args:
        content: a float file whose constants have no activations' names.
        images: uint8 [N, H, W, 3].
        least: of each range; 0 leaves the ranges as measured.
    """
    model = read(content)
    (graph,) = model.subgraphs
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    numbers = [
        number
        for operation in graph.operators
        for number in operation.outputs
        if graph.tensors[number].type == schema.TensorType.FLOAT32
    ]
    low, high = dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, 0.0)
    (source,) = interpreter.get_input_details()
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        for number in numbers:
            values = interpreter.get_tensor(number)
            low[number] = min(low[number], float(values.min()))
            high[number] = max(high[number], float(values.max()))
    if least:
        _raise_to_least(model, low, high, least)
    return {graph.tensors[number].name.decode(): (low[number], high[number]) for number in numbers}


def _raise_to_least(model: Any, low: dict[int, float], high: dict[int, float], least: float) -> None:
    (graph,) = model.subgraphs
    for operation in graph.operators:
        limit = least
        if builtin(model, operation) in WEIGHTED:
            data, weights, *_ = operation.inputs
            values = constant(model, graph.tensors[weights])
            if data in high and values is not None:
                # The input's range has 255 steps, as the output's, and one side of the weights' has 127.
                largest = float(np.abs(values.view(np.float32)).max())
                limit = max(least, (high[data] - low[data]) * largest / 127 / _LARGEST_RATIO)
        for number in operation.outputs:
            if number in high:
                high[number] = max(high[number], low[number] + limit)
