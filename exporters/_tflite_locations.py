"""Find the operations of a float .tflite file that can stay in float when it is quantized."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from exporters._float_locations import Location
from exporters._mixed import FloatKind
from exporters._tflite_file import operator_name, read

KINDS: Mapping[FloatKind, Sequence[str]] = {
    "sigmoid": ("LOGISTIC",),
    "mean": ("MEAN", "SUM", "AVERAGE_POOL_2D"),
    "mul": ("MUL", "DIV"),
    "add": ("ADD", "SUB"),
    "concat": ("CONCATENATION",),
    "hard_swish": ("HARD_SWISH",),
}
"""The names, in the file and in the quantizer, of the operations of each kind that can stay in float."""

_MOVES = frozenset({"RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE"})
"""They compute nothing. In integers between two operations in float, they would round all the same."""


def locations(content: bytes, never: Collection[str] = ()) -> dict[FloatKind, list[Location]]:
    """The operations of each kind, for the kinds that the file has, in the order of execution.

    Args:
        never: results of operations that are no choice because they are in float anyway.
    """
    model = read(content)
    (graph,) = model.subgraphs
    found: dict[FloatKind, list[Location]] = {}
    for operation in graph.operators:
        kind = next((kind for kind, names in KINDS.items() if operator_name(model, operation) in names), None)
        (number,) = operation.outputs if len(operation.outputs) == 1 else (None,)
        if kind is None or number is None or _name(graph, number) in never:
            continue
        results = tuple(_name(graph, each) for each in (number, *_moved(model, graph, number)))
        values = math.prod(int(side) for side in graph.tensors[number].shape)
        found.setdefault(kind, []).append(Location(f"{kind} {results[0]}", results, values))
    return {kind: found[kind] for kind in KINDS if kind in found}


def _moved(model: Any, graph: Any, number: int) -> list[int]:
    """The results of all moves of the tensor with this number, and of their results."""
    found = []
    for operation in graph.operators:
        if operator_name(model, operation) in _MOVES and operation.inputs[0] == number:
            found += [operation.outputs[0], *_moved(model, graph, operation.outputs[0])]
    return found


def _name(graph: Any, number: int) -> str:
    return str(graph.tensors[number].name.decode())
