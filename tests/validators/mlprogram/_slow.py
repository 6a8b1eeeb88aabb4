"""Convolution, pooling and resizing in plain loops, to hold the executor against."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np


def padded(a: np.ndarray, pads: Sequence[int], value: float = 0.0) -> np.ndarray:
    """``pads`` (before, after) for each of the last axes."""
    width = [(0, 0)] * (a.ndim - len(pads) // 2) + [(pads[i], pads[i + 1]) for i in range(0, len(pads), 2)]
    return np.pad(a, width, constant_values=value)


def conv(
    a: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """[1, C, H, W] with [O, C / groups, h, w], one multiplication after the other."""
    a = padded(a, pads)
    _, channels, height, width = a.shape
    outputs, inputs, h, w = weight.shape
    rows = (height - (h - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (width - (w - 1) * dilations[1] - 1) // strides[1] + 1
    result = np.zeros((1, outputs, rows, columns))
    for o, r, c in itertools.product(range(outputs), range(rows), range(columns)):
        first = o // (outputs // groups) * (channels // groups)
        for i, y, x in itertools.product(range(inputs), range(h), range(w)):
            at = a[0, first + i, r * strides[0] + y * dilations[0], c * strides[1] + x * dilations[1]]
            result[0, o, r, c] += at * weight[o, i, y, x]
        result[0, o, r, c] += 0 if bias is None else bias[o]
    return result


def conv_transpose(a: np.ndarray, weight: np.ndarray, strides: Sequence[int] = (1, 1), groups: int = 1) -> np.ndarray:
    """Every input element adds a scaled kernel; [C, O / groups, h, w]; nothing is cut."""
    _, channels, height, width = a.shape
    _, outputs, h, w = weight.shape
    result = np.zeros((1, outputs * groups, (height - 1) * strides[0] + h, (width - 1) * strides[1] + w))
    for c, r, k in itertools.product(range(channels), range(height), range(width)):
        first = c // (channels // groups) * outputs
        y, x = r * strides[0], k * strides[1]
        result[0, first : first + outputs, y : y + h, x : x + w] += a[0, c, r, k] * weight[c]
    return result


def pool(
    a: np.ndarray,
    reduce: Callable[[np.ndarray], float],
    kernel: Sequence[int],
    strides: Sequence[int],
    size: Sequence[int],
    pads: Sequence[int] = (0, 0, 0, 0),
) -> np.ndarray:
    """``reduce`` over each window's elements, padding being NaN; what lies outside the padding is not in a window."""
    a = padded(a, pads, np.nan)
    result = np.zeros((*a.shape[:2], *size))
    for n, c, r, k in itertools.product(*map(range, result.shape)):
        y, x = r * strides[0], k * strides[1]
        result[n, c, r, k] = reduce(a[n, c, y : y + kernel[0], x : x + kernel[1]])
    return result


def bilinear(a: np.ndarray, size: Sequence[int], point: Callable[[int, int, int], float]) -> np.ndarray:
    """``point(i, source, target)`` is where output i lies on an axis."""
    result = np.zeros((*a.shape[:2], *size))
    for r, c in itertools.product(*map(range, size)):
        corners = []
        for i, source, target in ((r, a.shape[2], size[0]), (c, a.shape[3], size[1])):
            p = min(max(point(i, source, target), 0), source - 1)
            low = int(p)
            corners.append(((low, 1 - (p - low)), (min(low + 1, source - 1), p - low)))
        for (y, share_y), (x, share_x) in itertools.product(*corners):
            result[:, :, r, c] += share_y * share_x * a[:, :, y, x]
    return result
