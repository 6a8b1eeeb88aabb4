"""Convert a .tflite file to the Python objects of its FlatBuffers schema, and back."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_FILE_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
"""Alignment of constant tensors; the schema requires it, but the generated Python code ignores it."""

_NAMES: dict[int, str] = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)
}


class _Builder(flatbuffers.Builder):
    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802 - overridden
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)


def read(content: bytes) -> Any:
    """Read the ``schema.ModelT``, including constants after the FlatBuffer, where the quantizer puts them."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 mean that the data are inside
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def packed(model: Any) -> bytes:
    """Write a ``schema.ModelT`` as a file, with every constant aligned."""
    builder = _Builder(1 << 20)
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())


def builtin(model: Any, operation: Any) -> int:
    """The operation's number in ``schema.BuiltinOperator``."""
    code = model.operatorCodes[operation.opcodeIndex]
    # Small numbers are also, in older files only, in the field of the first schema.
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def operator_name(model: Any, operation: Any) -> str:
    """The operation's name in ``schema.BuiltinOperator``."""
    return _NAMES[builtin(model, operation)]


def constant(model: Any, tensor: Any) -> np.ndarray | None:
    """The tensor's bytes, uint8; None if the tensor is computed."""
    data: np.ndarray | None = model.buffers[tensor.buffer].data
    return data if data is not None and len(data) else None
