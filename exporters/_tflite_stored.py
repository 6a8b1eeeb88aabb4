"""Read the types in a .tflite file."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporters._stored import Kind, Weighted
from exporters._tflite_file import builtin, constant, read

WEIGHTED = frozenset(
    {
        schema.BuiltinOperator.CONV_2D,
        schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        schema.BuiltinOperator.FULLY_CONNECTED,
    }
)
"""Operations whose second input is their weights."""

_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}


def stored(content: bytes) -> list[Weighted]:
    """List every operation with constant weights, in the order of execution."""
    model = read(content)
    (graph,) = model.subgraphs
    made_by = {number: operation for operation in graph.operators for number in operation.outputs}
    found = []
    for operation in graph.operators:
        if builtin(model, operation) not in WEIGHTED:
            continue
        data, operand = (graph.tensors[number] for number in operation.inputs[:2])
        weights = operand
        decompression = made_by.get(operation.inputs[1])
        if decompression is not None and builtin(model, decompression) == schema.BuiltinOperator.DEQUANTIZE:
            weights = graph.tensors[decompression.inputs[0]]
        if constant(model, weights) is not None:
            kind = Kind(*(_TYPES[tensor.type] for tensor in (weights, operand, data)))
            found.append(Weighted(weights.name.decode(), int(np.prod(weights.shape)), kind))
    return found
