"""Find the weights of layers in a float .tflite file, by their values; the converter changes names and orders."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporters._tflite_file import builtin, constant, read
from exporters._tflite_stored import WEIGHTED


def weights_of(content: bytes, layers: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """Find constant weights: name in the file -> the layers that have the same values, in any order and shape."""
    model = read(content)
    wanted = {name: _values(weights) for name, weights in layers.items()}
    found = {}
    for _, weights in _weighted(model) if wanted else ():
        data = constant(model, weights)
        if data is not None and weights.type == schema.TensorType.FLOAT32:
            values = _values(data.view(np.float32))
            if same := [name for name, each in wanted.items() if np.array_equal(each, values)]:
                found[weights.name.decode()] = same
    return found


def results_of(content: bytes, names: Collection[str]) -> list[str]:
    """The names of what the operations with these weights give."""
    model = read(content)
    (graph,) = model.subgraphs
    found = [operation for operation, weights in _weighted(model) if weights.name.decode() in names]
    return [graph.tensors[operation.outputs[0]].name.decode() for operation in found]


def _weighted(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every operation that can have weights, with the tensor that it reads as weights."""
    (graph,) = model.subgraphs
    for operation in graph.operators:
        if builtin(model, operation) in WEIGHTED:
            yield operation, graph.tensors[operation.inputs[1]]


def _values(weights: np.ndarray) -> np.ndarray:
    return np.sort(weights.ravel() + 0.0)  # -0.0 becomes 0.0
