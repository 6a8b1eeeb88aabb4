"""The element types of MIL (coremltools' ``MIL.proto``, enum DataType) and how NumPy holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ElementType:
    """An element type.

    Attributes:
        name: the name in MIL.
        storage: NumPy's type of one element.
        bits: number of bits in the file, if less than 8.
    """

    name: str
    storage: type[np.generic]
    bits: int | None = None
    blob_reader: str | None = None


_TYPES = {
    "BOOL": ElementType("bool", np.bool_),
    "STRING": ElementType("string", np.str_),
    "FLOAT16": ElementType("fp16", np.float16, blob_reader="read_fp16_data"),
    "FLOAT32": ElementType("fp32", np.float32, blob_reader="read_float_data"),
    "INT8": ElementType("int8", np.int8, blob_reader="read_int8_data"),
    "INT16": ElementType("int16", np.int16, blob_reader="read_int16_data"),
    "INT32": ElementType("int32", np.int32, blob_reader="read_int32_data"),
    "INT64": ElementType("int64", np.int64),
    "INT4": ElementType("int4", np.int8, 4, "read_int4_data"),
    "UINT8": ElementType("uint8", np.uint8, blob_reader="read_uint8_data"),
    "UINT16": ElementType("uint16", np.uint16, blob_reader="read_uint16_data"),
    "UINT32": ElementType("uint32", np.uint32, blob_reader="read_uint32_data"),
    "UINT6": ElementType("uint6", np.uint8, 6, "read_uint6_data"),
    "UINT4": ElementType("uint4", np.uint8, 4, "read_uint4_data"),
    "UINT3": ElementType("uint3", np.uint8, 3, "read_uint3_data"),
    "UINT2": ElementType("uint2", np.uint8, 2, "read_uint2_data"),
    "UINT1": ElementType("uint1", np.uint8, 1, "read_uint1_data"),
}


def element_type(proto_name: str) -> ElementType:
    """Find the type with the name ``proto_name`` in ``MIL.proto``.

    Raises:
        ValueError: this executor does not support the type, e.g. FLOAT8E5M2.
    """
    if proto_name not in _TYPES:
        raise ValueError(f"the reference executor has no element type {proto_name} (there are: {', '.join(_TYPES)})")
    return _TYPES[proto_name]


def unpack(packed: np.ndarray, bits: int, count: int, signed: bool = False) -> np.ndarray:
    """Unpack ``count`` integers of ``bits`` bits each, least significant bit first; an integer may cross bytes."""
    ones = np.unpackbits(packed.view(np.uint8), bitorder="little")[: count * bits].reshape(count, bits)
    values = (ones.astype(np.int16) << np.arange(bits, dtype=np.int16)).sum(1)
    if signed:
        values = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
    unpacked: np.ndarray = values.astype(np.int8 if signed else np.uint8)
    return unpacked
