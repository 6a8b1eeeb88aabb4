"""Read the types in a .pte file, of what XNNPACK computes and of what ExecuTorch computes itself.

Field numbers are those of the schema.fbs of ExecuTorch's XNNPACK delegate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from exporters._stored import Kind, Weighted
from validators.flatbuffer import number, numbers, tables, target, text, uint32
from validators.pte_file import XNNPACK, XNNPACK_NODES, Delegated, Kernel, calls, xnnpack_graph

_VALUES, _CONSTANTS = 2, 8
_TYPE, _CONTENT = 0, 1
_WEIGHTED = {2: (0, 1), 7: (15, 16), 13: (15, 16), 37: (0, 1), 39: (15, 16)}
"""Node type (fully connected, convolution, depthwise, matrix product, transposed) -> fields of input and weights."""
_QUANTIZED = 2
_KERNELS = {"aten::convolution": (0, 1), "aten::linear": (0, 1), "aten::mm": (0, 1), "aten::addmm": (1, 2)}
"""Operation -> its arguments that are the data and the weights."""
_TYPES = {
    1: "float32",
    2: "float16",
    3: "int8",
    4: "uint8",
    5: "int32",
    6: "int8",
    7: "int32",
    8: "int4",
    9: "dynamic int8",
    10: "int4",
    14: "bfloat16",
}
"""Type of XNNPACK's values -> its name; with one scale per tensor or per channel alike."""


def stored(content: bytes) -> list[Weighted]:
    """List every operation with constant weights, in the order of execution."""
    return [each for call in calls(content, "forward") for each in _weighted(call)]


def _weighted(call: Kernel | Delegated) -> Iterator[Weighted]:
    if isinstance(call, Delegated):
        if call.backend == XNNPACK:
            yield from _delegated(call.data)
        return
    if call.name in _KERNELS:
        data, weights = (call.arguments[each] for each in _KERNELS[call.name])
        if data is not None and weights is not None and weights.constant:
            yield Weighted(call.name, math.prod(weights.sizes), Kind(weights.kind, weights.kind, data.kind))


def _delegated(data: bytes) -> Iterator[Weighted]:
    """The operations of one part that XNNPACK computes."""
    data = xnnpack_graph(data)
    graph = uint32(data, 0)
    constants = [text(data, each, 2) for each in tables(data, graph, _CONSTANTS)]
    values = {}
    for value in tables(data, graph, _VALUES):
        tensor = target(data, value, _CONTENT)
        if tensor is not None and number(data, value, _TYPE, "B") == _QUANTIZED:
            tensor = target(data, tensor, 0)
        if tensor is not None:
            values[number(data, tensor, 6)] = tensor
    for node in tables(data, graph, XNNPACK_NODES):
        kind, content = number(data, node, _TYPE, "B"), target(data, node, _CONTENT)
        if kind not in _WEIGHTED or content is None:
            continue
        source, weights = (values[number(data, content, each)] for each in _WEIGHTED[kind])
        constant = number(data, weights, 3)
        if constant:
            name = constants[constant] if constant < len(constants) else ""
            own, taken = _kind(data, weights), _kind(data, source)
            yield Weighted(name or f"constant {constant}", math.prod(numbers(data, weights, 2)), Kind(own, own, taken))


def _kind(data: bytes, tensor: int) -> str:
    kind = number(data, tensor, 0, "h")
    return _TYPES.get(kind, f"type {kind}")
