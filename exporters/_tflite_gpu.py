"""Refuse .tflite files with convolutions that GPUs compute wrongly without saying so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from compress.contracts import CompressError
from exporters._tflite_file import builtin, read


def require_exact_on_gpus(content: bytes, multiple: int | None, path: Path) -> None:
    """Check the groups and the strides of every convolution.

    The rewrites see layers of the class ``nn.Conv2d``; a network may also call functions, or classes of its own.

    Args:
        multiple: as ``Costs.group_multiple``.

    Raises:
        CompressError: a convolution has several groups, and their channels, in or out, are no multiple; or it has a
            1x1 kernel of int8 and a stride.
    """
    model = read(content)
    (graph,) = model.subgraphs
    for operation in graph.operators:
        if builtin(model, operation) != schema.BuiltinOperator.CONV_2D:
            continue
        data, weights = (graph.tensors[number] for number in operation.inputs[:2])
        fault = _fault(data, weights, operation.builtinOptions, multiple)
        if fault is not None:
            what, wrong, remedy = fault
            raise CompressError(
                f"{path.name}: '{weights.name.decode()}' is a convolution {what}, for which phones' GPUs give {wrong}; "
                f"use {remedy}, or optimize: none if only CPUs will execute the file"
            )


def _fault(data: Any, weights: Any, options: Any, multiple: int | None) -> tuple[str, str, str] | None:
    """What a GPU computes wrongly, what it gives and the remedy; None for a convolution that it computes exactly."""
    outputs, height, width, inputs = (int(size) for size in weights.shape)
    groups = int(data.shape[3]) // inputs
    outputs //= groups
    if groups > 1 and (multiple is None or inputs % multiple or outputs % multiple):
        channels = "" if multiple is None else f", channels that are a multiple of {multiple} in each group"
        return f"of {groups} groups with {inputs} channels in and {outputs} out", "zeros", f"nn.Conv2d{channels}"
    stride = options.strideH, options.strideW
    if (height, width) == (1, 1) and stride != (1, 1) and weights.type == schema.TensorType.INT8:
        return f"of 1x1 with int8 weights and stride {stride}", "the values of other pixels", "nn.Conv2d"
    return None
