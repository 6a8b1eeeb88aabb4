"""Read the types in an .onnx file."""

from __future__ import annotations

import math
from typing import Any

import onnx

from exporters._stored import Kind, Weighted

_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


def stored(model: Any) -> list[Weighted]:
    """List every convolution and fully connected layer with constant weights, in the order of execution.

    Quantized files have pairs of nodes: DequantizeLinear before an operation and QuantizeLinear after it; the runtime
    computes the operation between them with integers. So an input from DequantizeLinear counts as integer.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    dequantized = {node.output[0]: node.input for node in model.graph.node if node.op_type == "DequantizeLinear"}
    quantized = {node.output[0]: node.input for node in model.graph.node if node.op_type == "QuantizeLinear"}

    def integers(name: str) -> str | None:
        """The type of the tensor from which ``name`` is dequantized; None if it is not dequantized."""
        if name not in dequantized:
            return None
        source, _, zero_point, *_ = dequantized[name]
        tensor = constants.get(source) or constants[quantized[source][2] if source in quantized else zero_point]
        return _name(tensor)

    found = []
    for node in model.graph.node:
        if node.op_type in _WEIGHTED:
            data, weights, *_ = node.input
            tensor = constants.get(dequantized[weights][0] if weights in dequantized else weights)
            if tensor is not None:
                operand = integers(weights) or _name(tensor)
                kind = Kind(_name(tensor), operand, integers(data) or "float32")
                found.append(Weighted(tensor.name, math.prod(tensor.dims), kind))
    return found


def _name(tensor: Any) -> str:
    return str(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
