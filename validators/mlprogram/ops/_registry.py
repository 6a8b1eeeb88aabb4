"""Map MIL operation names to the functions that compute them, and convert their arguments.

A function has MIL's parameter names; its annotations say how arguments are passed:
    Tensor                  float32, bool or integer tensor (half-precision values are held exactly in float32)
    tuple[Tensor, ...]      an argument of several values, e.g. of ``concat``
    int, float, bool, str   a scalar
    Ints, Bools             a vector
Defaults are MIL's own. The caller rounds the result to the declared type.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Ints = tuple[int, ...]
Bools = tuple[bool, ...]
Held = Tensor | str
"""How a value of the program is held while it runs."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Op:
    """A registered function.

    Attributes:
        convert: parameter -> function that converts its held values to the annotated type.
        required: parameters without a default.
    """

    compute: Callable[..., Any]
    convert: Mapping[str, Callable[[Sequence[Held]], Any]]
    takes_tensor: frozenset[str]
    required: frozenset[str]


OPERATIONS: dict[str, Op] = {}


def operation(name: str) -> Callable[[F], F]:
    """Register the decorated function as the MIL operation ``name``."""

    def register(function: F) -> F:
        assert name not in OPERATIONS, name
        hints = typing.get_type_hints(function)
        kinds = {parameter: _kind(hints[parameter]) for parameter in inspect.signature(function).parameters}
        OPERATIONS[name] = Op(
            compute=function,
            convert={parameter: _CONVERT[kind] for parameter, kind in kinds.items()},
            takes_tensor=frozenset(p for p, kind in kinds.items() if kind in (Tensor, tuple[Tensor, ...])),
            required=frozenset(
                p.name for p in inspect.signature(function).parameters.values() if p.default is inspect.Parameter.empty
            ),
        )
        return function

    return register


def _kind(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):  # X | None
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    return hint


def _only(values: Sequence[Held]) -> Any:
    (value,) = values
    return value


def _scalar(values: Sequence[Held]) -> Any:
    """The single element, also of a vector of length 1, which coremltools writes for some scalars."""
    return _only(values).item()


def _vector(values: Sequence[Held]) -> tuple[Any, ...]:
    return tuple(torch.cat([torch.atleast_1d(value) for value in values if isinstance(value, Tensor)]).tolist())


_CONVERT: dict[Any, Callable[[Sequence[Held]], Any]] = {
    Tensor: _only,
    tuple[Tensor, ...]: tuple,
    str: _only,
    int: lambda values: int(_scalar(values)),
    float: lambda values: float(_scalar(values)),
    bool: lambda values: bool(_scalar(values)),
    Ints: lambda values: tuple(int(value) for value in _vector(values)),
    Bools: lambda values: tuple(bool(value) for value in _vector(values)),
}
