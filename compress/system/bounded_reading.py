"""Read untrusted files with limits on size, depth and types of values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.contracts import BadInput
from compress.system.path_containment import open_file

JSON_BYTES = 256 * 1024 * 1024
"""rankings.json of the largest gallery measured takes 60 MB."""
DEPTH = 64
"""Levels of lists and objects; bundle.json has 8."""
LARGEST = 2**63 - 1
"""What SQLite, NumPy and the apps that read a bundle hold in an integer."""


def read_bytes(path: Path, most: int) -> bytes:
    """A regular file of at most ``most`` bytes.

    Raises:
        BadInput: it cannot be read, is no file, or is larger.
    """
    try:
        with open_file(path) as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(content) > most:
        raise BadInput(f"{path}: larger than {most:,} bytes, the most that is read of such a file")
    return content


def read_text(path: Path, most: int) -> str:
    """UTF-8 text. Raises as ``read_bytes`` does, and BadInput where it is no UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: damaged (byte {error.start} is not UTF-8)") from error


def read_json(path: Path, most: int = JSON_BYTES) -> Any:
    """The value of a JSON file.

    Raises:
        BadInput: it cannot be read, is larger than ``most`` bytes, or ``parse_json`` refuses it.
    """
    text = read_text(path, most)
    try:
        return parse_json(text)
    except ValueError as error:
        raise BadInput(f"{path}: damaged ({error})") from error


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of JSON text.

    Args:
        finite: refuse NaN and infinity, which JSON does not have and Python writes.

    Raises:
        ValueError: not JSON, nested too deep, a key twice, or a value that ``require_plain_values`` refuses.
    """
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {DEPTH} levels") from error
    require_plain_values(value, finite=finite)
    return value


def require_plain_values(value: Any, most: int | None = None, *, finite: bool = True) -> None:
    """Refuse values that later steps could not hold, print or write.

    Args:
        most: how many values there may be, those that YAML repeats by an alias counted each time.

    Raises:
        ValueError: nested deeper than ``DEPTH``, more than ``most`` values, a key that is no text, an integer of more
            than 64 bits, NaN or infinity where ``finite``, text that is no Unicode, or a type that JSON does not have.
    """
    waiting: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while waiting:
        here, depth = waiting.pop()
        seen += 1
        if most is not None and seen > most:
            raise ValueError(f"more than {most:,} values")
        if isinstance(here, str):
            _require_unicode(here)
        elif isinstance(here, int):
            if not -LARGEST <= here <= LARGEST:
                raise ValueError("an integer of more than 64 bits")
        elif isinstance(here, float):
            if finite and not math.isfinite(here):
                raise ValueError(f"{here} is no number")
        elif isinstance(here, dict | list):
            if depth == DEPTH:
                raise ValueError(f"nested deeper than {DEPTH} levels")
            waiting += ((item, depth + 1) for item in _items(here))
        elif here is not None:
            raise ValueError(f"a {type(here).__name__}, which JSON does not have")


def _items(value: dict[Any, Any] | list[Any]) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
        return
    for key, item in value.items():
        if not isinstance(key, str):
            raise ValueError(f"the key {str(key)[:40]!r} is no text; put it in quotes")
        _require_unicode(key)
        yield item


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice[:40]!r} is listed twice")
    return found


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[:40]!r} is no Unicode text") from error
