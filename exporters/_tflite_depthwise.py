"""Write depthwise convolutions of a single channel as ordinary ones in a .tflite file.

With one input channel both compute the same. The converter writes them as depthwise, for which LiteRT's GPU accelerator
ends the process if their weights are int8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporters._tflite_file import builtin, constant, packed, read

_COPIED = ("padding", "strideW", "strideH", "fusedActivationFunction", "dilationWFactor", "dilationHFactor")


def without_single_channels(content: bytes) -> bytes:
    """The same file, of float weights, without depthwise convolutions of one channel."""
    model = read(content)
    (graph,) = model.subgraphs
    found = [operation for operation in graph.operators if _is_single(model, graph, operation)]
    if not found:
        return content
    code = _conv_code(model)
    for operation in found:
        options = schema.Conv2DOptionsT()
        for name in _COPIED:
            setattr(options, name, getattr(operation.builtinOptions, name))
        operation.opcodeIndex, operation.builtinOptions = code, options
        operation.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    for number in {operation.inputs[1] for operation in found}:
        weights = graph.tensors[number]
        values = np.asarray(constant(model, weights)).view(np.float32).reshape(weights.shape)
        turned = np.ascontiguousarray(values.transpose(3, 1, 2, 0))  # [1, h, w, O] to [O, h, w, 1]
        if sum(tensor.buffer == weights.buffer for tensor in graph.tensors) > 1:  # others read the old order
            model.buffers.append(schema.BufferT())
            weights.buffer = len(model.buffers) - 1
        model.buffers[weights.buffer].data = turned.view(np.uint8).reshape(-1)
        weights.shape = list(turned.shape)
    return packed(model)


def _is_single(model: Any, graph: Any, operation: Any) -> bool:
    if builtin(model, operation) != schema.BuiltinOperator.DEPTHWISE_CONV_2D:
        return False
    data, weights = (graph.tensors[number] for number in operation.inputs[:2])
    readers = [other for other in graph.operators if operation.inputs[1] in other.inputs]
    return (
        int(data.shape[3]) == 1
        and constant(model, weights) is not None
        and all(builtin(model, other) == schema.BuiltinOperator.DEPTHWISE_CONV_2D for other in readers)
    )


def _conv_code(model: Any) -> int:
    """The index of the operator code of CONV_2D, which is added if the file has none."""
    for number, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.CONV_2D:
            return number
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
