"""Format numbers for people."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

NOTHING = "-"
"""Shown if nothing was measured."""


def megabytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB"


def score(value: Any) -> str:
    """Format a metric in [0, 1] with four digits."""
    return f"{value:.4f}" if is_number(value) else NOTHING


def cosine(value: Any) -> str:
    return f"{value:.6f}" if is_number(value) else NOTHING


def percent(value: Any) -> str:
    """Format a share in [0, 1] as percent."""
    return f"{value:.3%}" if is_number(value) else NOTHING


def milliseconds(value: Any) -> str:
    return f"{value:.2f} ms" if is_number(value) else NOTHING


def change(value: Any) -> str:
    """Format a difference of two scores, with its sign unless it rounds to 0."""
    return f"{value:+.4f}".replace("+0.0000", "0.0000").replace("-0.0000", "0.0000") if is_number(value) else NOTHING


def short(value: Any) -> str:
    """Format any number with at most six digits."""
    return f"{value:.6g}" if is_number(value) else "not a number"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether the value is a finite number; a damaged file may hold NaN or infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
