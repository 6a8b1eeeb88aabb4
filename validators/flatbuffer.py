"""Read FlatBuffers without their schema's code: the fields of a table by their position in the schema.

The bytes may be a stranger's: a damaged buffer raises ``struct.error`` or ``IndexError``, and loops end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_BYTES = 1 << 20
"""Largest vector of bytes that ``vector`` gives."""


def uint32(content: bytes, position: int) -> int:
    """The unsigned number of 32 bits at a position; the root table is at ``uint32(content, 0)``."""
    return int(struct.unpack_from("<I", content, position)[0])


def field(content: bytes, table: int, number: int) -> int | None:
    """The position of a field's value in a table; None if the table does not have the field."""
    slots = table - struct.unpack_from("<i", content, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", content, slots)[0]:
        return None
    offset = struct.unpack_from("<H", content, slots + slot)[0]
    return table + offset if offset else None


def number(content: bytes, table: int, position: int, kind: str = "I") -> int:
    """A field that is a number of this ``struct`` format; 0 if the table does not have it."""
    found = field(content, table, position)
    return 0 if found is None else int(struct.unpack_from("<" + kind, content, found)[0])


def target(content: bytes, table: int, position: int) -> int | None:
    """The position of the table in a field."""
    found = field(content, table, position)
    return None if found is None else found + uint32(content, found)


def vector(content: bytes, position: int, most: int = MAX_BYTES) -> bytes:
    """The bytes of a string or a vector of bytes, whose field is at ``position``."""
    start = position + uint32(content, position)
    return content[start + 4 : start + 4 + min(uint32(content, start), most)]


def text(content: bytes, table: int, position: int) -> str:
    """A field that is a string; empty if the table does not have it."""
    found = field(content, table, position)
    return "" if found is None else vector(content, found).decode()


def numbers(content: bytes, table: int, position: int, kind: str = "I") -> list[int]:
    """A field that is a vector of numbers of this ``struct`` format."""
    found = field(content, table, position)
    if found is None:
        return []
    start = found + uint32(content, found)
    count = min(uint32(content, start), len(content) // struct.calcsize(kind))
    return list(struct.unpack_from(f"<{count}{kind}", content, start + 4))


def tables(content: bytes, table: int, position: int) -> Iterator[int]:
    """The positions of the tables in a field that is a vector of tables."""
    found = field(content, table, position)
    if found is None:
        return
    start = found + uint32(content, found)
    for each in range(start + 4, start + 4 + 4 * min(uint32(content, start), len(content) // 4), 4):
        yield each + uint32(content, each)
