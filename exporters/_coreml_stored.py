"""Read the types in the program of an .mlpackage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np

from exporters._stored import Kind, Weighted

_WEIGHTED = frozenset({"conv", "linear", "matmul"})


def stored(package: Path) -> list[Weighted]:
    """List every convolution and fully connected layer with constant weights, in the order of execution."""
    return weighted(ct.utils.load_spec(str(package)))


def weighted(model: Any) -> list[Weighted]:
    """The same for a model in memory, as coremltools' ``Model_pb2.Model``."""
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    made_by = {output.name: operation for operation in block.operations for output in operation.outputs}
    found = []
    for operation in block.operations:
        weights = made_by.get(_argument(operation, "weight") or _argument(operation, "y"))
        if operation.type in _WEIGHTED and weights is not None and weights.type.startswith("const"):
            operand = weights.outputs[0].type.tensorType
            values = int(np.prod([axis.constant.size for axis in operand.dimensions]))
            kind = Kind(_stored_type(weights, made_by), _name(operand), _name(operation.outputs[0].type.tensorType))
            found.append(Weighted(weights.outputs[0].name, values, kind))
    return found


def _argument(operation: Any, name: str) -> str | None:
    return operation.inputs[name].arguments[0].name if name in operation.inputs else None


def _stored_type(weights: Any, made_by: dict[str, Any]) -> str:
    if weights.type == "const":
        return _name(weights.outputs[0].type.tensorType)
    if weights.type == "constexpr_lut_to_dense":
        colours = _constant(weights, "lut", made_by).dimensions[-1].constant.size
        return f"palette{int(colours).bit_length() - 1}"
    field = "quantized_data" if weights.type == "constexpr_affine_dequantize" else "data"
    return _name(_constant(weights, field, made_by))


def _constant(operation: Any, name: str, made_by: dict[str, Any]) -> Any:
    """The type of a constant parameter: an attribute up to iOS 17, an input later."""
    if name in operation.attributes:
        return operation.attributes[name].type.tensorType
    (argument,) = operation.inputs[name].arguments
    if argument.HasField("value"):
        return argument.value.type.tensorType
    return made_by[argument.name].outputs[0].type.tensorType


def _name(tensor: Any) -> str:
    return str(ct.proto.MIL_pb2.DataType.Name(tensor.dataType)).lower()
