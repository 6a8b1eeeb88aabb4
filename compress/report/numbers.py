"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

NOTHING = "-"
"""Where nothing was measured."""


def megabytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB"


def score(value: Any) -> str:
    """A metric in [0, 1], four digits."""
    return f"{value:.4f}" if is_number(value) else NOTHING


def cosine(value: Any) -> str:
    return f"{value:.6f}" if is_number(value) else NOTHING


def percent(value: Any) -> str:
    """A share in [0, 1]."""
    return f"{value:.3%}" if is_number(value) else NOTHING


def milliseconds(value: Any) -> str:
    return f"{value:.2f} ms" if is_number(value) else NOTHING


def change(value: Any) -> str:
    """A difference of two scores, with its sign unless it rounds to nothing."""
    return f"{value:+.4f}".replace("+0.0000", "0.0000").replace("-0.0000", "0.0000") if is_number(value) else NOTHING


def short(value: Any) -> str:
    """Any number in six digits at most."""
    return f"{value:.6g}" if is_number(value) else "not a number"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether something was measured: NaN and infinity, which a damaged file may hold, are no values."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
