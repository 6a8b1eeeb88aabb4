"""The recipe's section ``tune``: what ``compress tune`` may change, as key path -> choices or range."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_RANGE_KEYS = ("low", "high", "step", "log")


@dataclass(frozen=True)
class Choices:
    """A key that takes one of some values.

    Attributes:
        key: its address in the recipe, as ``--set`` writes it.
        values: plain values, different ones.
    """

    key: str
    values: tuple[Any, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The values as text, in the same order."""
        return tuple(named(value) for value in self.values)


@dataclass(frozen=True)
class Range:
    """A key that takes any number from ``low`` to ``high``; whole numbers if both ends are.

    Attributes:
        key: its address in the recipe, as ``--set`` writes it.
        step: only ``low`` plus multiples of this; None for any number, or every whole number.
        log: small numbers are as likely as large ones, per factor.
    """

    key: str
    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


Parameter = Choices | Range


def named(value: Any) -> str:
    """A plain value as short text, which differs for different values."""
    return value if isinstance(value, str) else json.dumps(value, separators=(", ", ": "), ensure_ascii=False)


def read_space(section: Any) -> tuple[Parameter, ...]:
    """Read the section; an absent one is an empty space.

    Raises:
        BadOptions: with every wrong entry.
    """
    from compress.options import BadOptions

    if section is None:
        return ()
    if not isinstance(section, Mapping):
        raise BadOptions([f"tune: {section!r} must map keys to lists of values or to {{low: …, high: …}}"])
    found, problems = [], []
    for key, given in section.items():
        if not isinstance(key, str) or not all(key.split(".")):
            problems.append(f"tune: {key!r} must be a key of the recipe, such as train.lr")
            continue
        try:
            found.append(_parameter(key, given))
        except ValueError as error:
            problems.append(f"tune.{key}: {error}")
    if problems:
        raise BadOptions(problems)
    return tuple(found)


def _parameter(key: str, given: Any) -> Parameter:
    if key.partition(".")[0] in ("name", "tune"):
        raise ValueError("cannot be tuned; remove it")
    if isinstance(given, list):
        if len({named(value) for value in given}) < max(2, len(given)):
            raise ValueError(f"{given!r} must hold two values or more, each once")
        return Choices(key, tuple(given))
    if not isinstance(given, Mapping) or not {"low", "high"} <= given.keys() <= set(_RANGE_KEYS):
        raise ValueError(f"{given!r} must be a list of values, or {{low: …, high: …}} with step or log: true beside")
    low, high, step, log = (given.get(name) for name in _RANGE_KEYS)
    numbers = [value for value in (low, high, step) if value is not None]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        raise ValueError("low, high and step must be numbers")
    if log not in (None, True, False) or (log and step is not None):
        raise ValueError("log must be true or false, and has no step beside it")
    assert isinstance(low, int | float) and isinstance(high, int | float)
    if not low < high or (log and low <= 0) or (step is not None and not 0 < step <= high - low):
        raise ValueError("low must be below high, above 0 for log, and step must fit between them")
    whole = isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int))
    ends = (low, high) if whole else (float(low), float(high))
    return Range(key, *ends, step=step, log=bool(log))
