"""Compute maxima over axes with integers in a quantized .tflite file.

The quantizer does not support REDUCE_MAX, so it converts the whole map to float before each one. Rounding keeps the
order of values, so the maximum of the integers is the integer of the maximum.
"""

from __future__ import annotations

import copy

from ai_edge_litert import schema_py_generated as schema

from exporters._tflite_file import builtin, packed, read

_OPERATION = schema.BuiltinOperator
_VERSION = 2
"""The version of REDUCE_MAX that computes with int8."""


def with_integer_maxima(content: bytes) -> bytes:
    """The same file, with int8 instead of float maxima of int8 maps.

    Only the small result is converted, to its own scale. A maximum that anything reads as float stays as it is.
    """
    model = read(content)
    (graph,) = model.subgraphs
    makers = {number: operation for operation in graph.operators for number in operation.outputs}
    changed = False
    for operation in graph.operators:
        if builtin(model, operation) != _OPERATION.REDUCE_MAX:
            continue
        conversion, (number,) = makers.get(operation.inputs[0]), operation.outputs
        if conversion is None or builtin(model, conversion) != _OPERATION.DEQUANTIZE:
            continue
        source, result = graph.tensors[conversion.inputs[0]], graph.tensors[number]
        readers = [other for other in graph.operators if number in other.inputs]
        if (
            source.type != schema.TensorType.INT8
            or number in graph.outputs
            or any(builtin(model, other) != _OPERATION.QUANTIZE for other in readers)
        ):
            continue
        operation.inputs = [conversion.inputs[0], *operation.inputs[1:]]
        result.type, result.quantization = source.type, copy.deepcopy(source.quantization)
        result.name += b"_integer"  # the converted result has the range of this name
        code = model.operatorCodes[operation.opcodeIndex]
        code.version = max(code.version, _VERSION)
        changed = True
    if not changed:
        return content
    used = {number for operation in graph.operators for number in operation.inputs} | set(graph.outputs)
    graph.operators = [
        each for each in graph.operators if builtin(model, each) != _OPERATION.DEQUANTIZE or each.outputs[0] in used
    ]
    return packed(model)
