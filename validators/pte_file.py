"""Read an ExecuTorch file (.pte) from its bytes: its methods, what they call, and the data of its delegates.

Field numbers are those of ExecuTorch's program.fbs, and of the schema.fbs of its XNNPACK delegate.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from validators.flatbuffer import field, number, numbers, tables, target, text, uint32, vector

XNNPACK, XNNPACK_NODES = "XnnpackBackend", 1
_PLANS, _INLINE, _SEGMENTS = 1, 3, 4
_NAME, _VALUES, _OUTPUTS, _CHAINS, _OPERATORS, _DELEGATES = 0, 2, 4, 5, 6, 7
_INSTRUCTIONS, _TYPE, _CONTENT = 2, 0, 1
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_TENSOR, _STRING = 5, 6
_TENSOR_TYPE, _TENSOR_SIZES, _TENSOR_DATA = 0, 2, 5
_SCALARS = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 15: "bfloat16"}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a method: its type and sizes, and whether the file holds its values."""

    kind: str
    sizes: tuple[int, ...]
    constant: bool


@dataclass(frozen=True)
class Kernel:
    """An operation that the runtime computes itself, with its arguments that are tensors; None for others."""

    name: str
    arguments: tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Delegated:
    """A part of the method that a delegate computes.

    Attributes:
        backend: name of the delegate, e.g. ``XnnpackBackend``.
        data: its own file.
    """

    backend: str
    data: bytes


def calls(content: bytes, method: str) -> Iterator[Kernel | Delegated]:
    """What a method calls, in this order.

    Raises:
        ValueError: there is no such method.
    """
    plan = _plan(content, method)
    values = list(tables(content, plan, _VALUES))
    names = [text(content, each, 0) for each in tables(content, plan, _OPERATORS)]
    delegates = list(tables(content, plan, _DELEGATES))
    for chain in tables(content, plan, _CHAINS):
        for instruction in tables(content, chain, _INSTRUCTIONS):
            kind, call = number(content, instruction, _TYPE, "B"), target(content, instruction, _CONTENT)
            if call is None:
                continue
            if kind == _KERNEL_CALL:
                arguments = [_tensor(content, values[each]) for each in numbers(content, call, 1, "i")]
                yield Kernel(names[number(content, call, 0, "i")], tuple(arguments))
            elif kind == _DELEGATE_CALL:
                yield _delegated(content, delegates[number(content, call, 0, "i")])


def xnnpack_graph(data: bytes) -> bytes:
    """The FlatBuffers of a part that XNNPACK computes, which follows a header of offsets."""
    if data[4:8] != b"XH00":
        return data
    start, size = struct.unpack_from("<II", data, 10)
    return data[start : start + size]


def operations(content: bytes, method: str) -> tuple[int, Counter[str]]:
    """The number of operations that XNNPACK computes, and by name, how often ExecuTorch computes an operation itself.

    Raises:
        ValueError: there is no such method.
    """
    delegated, own = 0, Counter[str]()
    for call in calls(content, method):
        if isinstance(call, Kernel):
            own[call.name] += 1
        elif call.backend == XNNPACK:
            graph = xnnpack_graph(call.data)
            delegated += sum(1 for _ in tables(graph, uint32(graph, 0), XNNPACK_NODES))
    return delegated, own


def returned_text(content: bytes, method: str) -> bytes:
    """The text that a method without operations returns, as UTF-8.

    Raises:
        ValueError: there is no such method, or it returns something else.
    """
    plan = _plan(content, method)
    values, outputs = list(tables(content, plan, _VALUES)), numbers(content, plan, _OUTPUTS, "i")
    if len(outputs) == 1 and number(content, values[outputs[0]], _TYPE, "B") == _STRING:
        value = target(content, values[outputs[0]], _CONTENT)
        place = None if value is None else field(content, value, 0)
        if place is not None:
            return vector(content, place)
    raise ValueError(f"the method {method} returns no text")


def _plan(content: bytes, method: str) -> int:
    for plan in tables(content, uint32(content, 0), _PLANS):
        if text(content, plan, _NAME) == method:
            return plan
    raise ValueError(f"there is no method {method}")


def _tensor(content: bytes, value: int) -> Tensor | None:
    tensor = target(content, value, _CONTENT)
    if number(content, value, _TYPE, "B") != _TENSOR or tensor is None:
        return None
    kind = number(content, tensor, _TENSOR_TYPE, "b")
    sizes = numbers(content, tensor, _TENSOR_SIZES, "i")
    return Tensor(_SCALARS.get(kind, f"type {kind}"), tuple(sizes), number(content, tensor, _TENSOR_DATA) > 0)


def _delegated(content: bytes, delegate: int) -> Delegated:
    backend, place = text(content, delegate, 0), target(content, delegate, 1)
    if place is None:
        raise ValueError(f"the delegate {backend} has no data")
    in_segment, index = number(content, place, 0, "b"), number(content, place, 1)
    if not in_segment:
        inline = field(content, list(tables(content, uint32(content, 0), _INLINE))[index], 0)
        return Delegated(backend, b"" if inline is None else vector(content, inline, len(content)))
    (base,) = struct.unpack_from("<Q", content, 24)  # 8 bytes of FlatBuffers, then "eh00", lengths of header, program
    segment = list(tables(content, uint32(content, 0), _SEGMENTS))[index]
    start = base + number(content, segment, 0, "Q")
    return Delegated(backend, content[start : start + number(content, segment, 1, "Q")])
