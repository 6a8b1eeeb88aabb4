"""Read data files that were published as Python pickles without running any code in them."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import BadInput
from compress.system.bounded_reading import read_bytes

_MOST_BYTES = 2**28
_MOST_STEPS = 2_000_000
"""CIFAR-10's batches have 31 MB and 60,000 steps each."""


def read_pickle(path: Path, key: str, what: str) -> Any:
    """``content[key]`` of a pickle of plain values and arrays.

    Args:
        what: the data set's kind of file, for the message.

    Raises:
        BadInput: the file is missing, damaged or too large, has no such key, or asks for anything else to be called.
    """
    if not path.is_file():
        raise BadInput(f"{path}: No such file; get the data set again")
    packed = read_bytes(path, _MOST_BYTES)
    try:
        _check_steps(packed)
        content = _ArraysOnly(io.BytesIO(packed), encoding="latin1").load()
        return content[key]
    except Exception as error:  # a damaged pickle raises errors of every kind
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: not {what} with '{key}' ({reason}); get the file again") from error


def numbers(value: Any) -> np.ndarray:
    """A flat list or an array of numbers as float64 [N].

    Raises:
        ValueError: it is something else. Lists in lists are not looked into: a small file can nest them without end.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return value.astype(np.float64).reshape(-1)
    if not isinstance(value, list | tuple) or not all(isinstance(each, int | float | np.number) for each in value):
        raise ValueError(f"a {type(value).__name__} where numbers are expected")
    try:
        return np.array([float(each) for each in value], dtype=np.float64)
    except OverflowError as error:
        raise ValueError("a number without end") from error


def integers(value: Any, below: int) -> np.ndarray:
    """As ``numbers``, int64, from 0 to ``below`` - 1.

    Raises:
        ValueError: one is not.
    """
    found = numbers(value)
    if not ((found >= 0) & (found < below) & (found == np.floor(found))).all():
        raise ValueError(f"numbers outside 0 to {below - 1}")
    return found.astype(np.int64)


def strings(value: Any) -> list[str]:
    """A list of texts.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list | tuple | np.ndarray) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"a {type(value).__name__} where names are expected")
    return [str(each) for each in value]


def _check_steps(packed: bytes) -> None:
    """Refuse a pickle that takes more time or memory than its size suggests. Raises ValueError."""
    for number, (step, argument, _) in enumerate(pickletools.genops(packed)):
        if number >= _MOST_STEPS:
            raise ValueError(f"more than {_MOST_STEPS:,} steps")
        if step.name.endswith("PUT") and isinstance(argument, int) and argument > len(packed):
            raise ValueError(f"entry {argument} of a table for {len(packed):,} bytes")


class _Array:
    """Replaces ``numpy.ndarray`` while a pickle is read; it can be named but not called."""


def _reconstruct(kind: type, shape: tuple[int, ...], code: Any) -> np.ndarray:
    """An empty array, whose content is set by what follows in the pickle."""
    if kind is not _Array or shape != (0,):
        raise pickle.UnpicklingError(f"it asks for an array of shape {shape} without content")
    return np.empty(0)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """A pickle can call any function; these files need only what builds arrays and their numbers."""

    _ALLOWED = {  # noqa: RUF012
        "_reconstruct": _reconstruct,
        "scalar": np.float64(0).__reduce__()[0],
        "ndarray": _Array,
        "dtype": np.dtype,
        "encode": _encode,
        "bytes": lambda: b"",  # as Python 3 writes it for protocol 2
    }

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in ("numpy", "_codecs", "builtins", "__builtin__") and name in self._ALLOWED:
            return self._ALLOWED[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
