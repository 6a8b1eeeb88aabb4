"""Refuse .tflite files with convolutions that GPUs compute wrongly without saying so."""

from __future__ import annotations

from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from compress.contracts import CompressError
from exporters._tflite_file import builtin, read


def require_groups(content: bytes, multiple: int | None, path: Path) -> None:
    """Check the groups of every convolution.

    The rewrites see layers of the class ``nn.Conv2d``; a network may also call functions, or classes of its own.

    Args:
        multiple: as ``Costs.group_multiple``.

    Raises:
        CompressError: a convolution has several groups, and their channels, in or out, are no multiple.
    """
    model = read(content)
    (graph,) = model.subgraphs
    for operation in graph.operators:
        if builtin(model, operation) != schema.BuiltinOperator.CONV_2D:
            continue
        data, weights = (graph.tensors[number] for number in operation.inputs[:2])
        inputs = int(weights.shape[3])
        groups = int(data.shape[3]) // inputs
        outputs = int(weights.shape[0]) // groups
        if groups > 1 and (multiple is None or inputs % multiple or outputs % multiple):
            channels = "" if multiple is None else f", channels that are a multiple of {multiple} in each group"
            raise CompressError(
                f"{path.name}: '{weights.name.decode()}' is a convolution of {groups} groups with {inputs} channels in "
                f"and {outputs} out, for which phones' GPUs give zeros; use nn.Conv2d{channels}, or optimize: none if "
                "only CPUs will execute the file"
            )
