"""Choose, by measurement, the operations of a w8a8 file that compute in float.

Each operation alone is quantized, and the error of the embeddings puts them in order. Then files with more and more of
them in float are written, and the one that keeps most neighbours within the limits is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.contracts import BadInput, Distance
from exporters._by_error import evenly, relative_error, worst_first
from validators.metrics import nearest_neighbours

NEIGHBOURS = 10
NEIGHBOUR_IMAGES = 64
ERROR_IMAGES = 8
"""Enough to put operations in order: there are up to 150 of them, and a file is written and executed for each."""

_NOISE = 0.005
"""Shares of neighbours that differ by less are taken as equal: 3 of 640."""


@dataclass(frozen=True)
class Location:
    """An operation that can stay in float, with the moves (reshapes, transpositions) of its result.

    Attributes:
        name: kind and result, unique in the file.
        results: names of the results of the operation and of the moves.
        values: number of values of the result.
    """

    name: str
    results: tuple[str, ...]
    values: int


@dataclass(frozen=True)
class Files:
    """What the choice needs of a format.

    Attributes:
        locations: in the order of execution.
        exact: the float file.
        alone: the float file in which only this location is quantized.
        mixed: the w8a8 file with these locations in float.
        published: the same file with its metadata, which hold the share of neighbours.
        embedded: embeddings float32 [n, D] of images uint8 [n, H, W, 3] by a file.
    """

    locations: Sequence[Location]
    exact: bytes
    alone: Callable[[Location], bytes]
    mixed: Callable[[Sequence[Location]], bytes]
    published: Callable[[bytes, Sequence[Location], float], bytes]
    embedded: Callable[[bytes, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tried:
    """A file with the first locations of the order in float.

    Attributes:
        neighbours: share of each image's nearest neighbours that the float file has, too.
        bytes: of the published file.
        milliseconds: processor time for one image; None if it was not measured.
    """

    kept: tuple[Location, ...]
    neighbours: float
    bytes: int
    milliseconds: float | None

    def text(self) -> str:
        time = "" if self.milliseconds is None else f", {self.milliseconds:.3f} ms"
        return f"{self.neighbours:.1%} of the neighbours kept{time}, {self.bytes:,} bytes"


@dataclass(frozen=True)
class Limits:
    """The budget of the file; None is no limit."""

    milliseconds: float | None = None
    bytes: int | None = None

    def allow(self, one: Tried) -> bool:
        in_time = self.milliseconds is None or one.milliseconds is None or one.milliseconds <= self.milliseconds
        return in_time and (self.bytes is None or one.bytes <= self.bytes)


def neighbours_kept(found: np.ndarray, right: np.ndarray, distance: Distance) -> float:
    """The share of each image's nearest other images that both embeddings, float32 [n, D], agree on."""
    rows = np.arange(len(right))
    count = min(NEIGHBOURS, len(rows) - 1)
    if count < 1:
        return 1.0
    # Features without an own distance of vectors, such as packed local ones, are compared by their values.
    known: Distance = distance if distance in ("cosine", "hamming") else "l2"
    first, second = (nearest_neighbours(each, each, count, distance=known, itself=rows) for each in (found, right))
    return float((first[:, :, None] == second[:, None, :]).any(axis=2).mean())


def tried(
    files: Files,
    images: np.ndarray,
    distance: Distance,
    tolerance: float,
    milliseconds: Callable[[Sequence[bytes]], list[float]] | None = None,
) -> list[Tried]:
    """Measure files with more and more locations in float, from none to all.

    Args:
        images: calibration images, uint8 [n, H, W, 3].
        tolerance: locations whose own error is at most this are never in float.
        milliseconds: measures the time of files; None if time does not matter.
    """
    order = _order(files, evenly(images, ERROR_IMAGES), tolerance)
    some = evenly(images, NEIGHBOUR_IMAGES)
    right = files.embedded(files.exact, some)
    kept = [tuple(order[:count]) for count in _counts(len(order))]
    written = [files.mixed(each) for each in kept]
    times = [None] * len(written) if milliseconds is None else milliseconds(written)
    shares = [neighbours_kept(files.embedded(content, some), right, distance) for content in written]
    return [
        Tried(locations, share, len(files.published(content, locations, share)), time)
        for locations, content, share, time in zip(kept, written, shares, times, strict=True)
    ]


def best(measured: Sequence[Tried], limits: Limits) -> Tried:
    """The file with the fewest locations in float of those that keep most neighbours within the limits.

    Raises:
        BadInput: none is within the limits; the message says what the smallest or fastest takes.
    """
    within = [each for each in measured if limits.allow(each)]
    if not within:
        raise BadInput(_missed(measured, limits))
    most = max(each.neighbours for each in within)
    return next(each for each in within if each.neighbours >= most - _NOISE)


def choice_record(kept: Sequence[Location], neighbours: float) -> dict[str, Any]:
    """What the file's metadata say about the choice."""
    return {"float_at": [each.name for each in kept], "neighbours_kept": round(neighbours, 4)}


def _order(files: Files, images: np.ndarray, tolerance: float) -> list[Location]:
    right = files.embedded(files.exact, images)
    errors = {each.name: relative_error(files.embedded(files.alone(each), images), right) for each in files.locations}
    above = {name: error for name, error in errors.items() if error > tolerance}
    known = {each.name: each for each in files.locations}
    return [known[name] for name in worst_first(above, {name: each.values for name, each in known.items()})]


def _counts(most: int) -> list[int]:
    """0, 1, 2, 4, 8 … and all of them."""
    powers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [0, *powers, *([most] if most else [])]


def _missed(measured: Sequence[Tried], limits: Limits) -> str:
    least = min(each.bytes for each in measured)
    if limits.bytes is not None and least > limits.bytes:
        return f"max_bytes: {limits.bytes:,} is less than the smallest w8a8 file takes, {least:,} bytes; allow that"
    fastest = min(each.milliseconds or 0.0 for each in measured)
    return (
        f"max_ms: {limits.milliseconds:g} is less than the fastest w8a8 file takes here, {fastest:.3f} ms; allow that, "
        "or prune the network"
    )
