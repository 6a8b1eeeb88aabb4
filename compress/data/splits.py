"""Seeded ways to choose samples and to divide them in two.

NumPy keeps the stream of ``random_raw`` the same between its versions, but not that of ``Generator.permutation``.
"""

from __future__ import annotations

import numpy as np


def random_split(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint int64 index arrays, each ascending: the rest, and floor(share * count + 1/2) drawn at random."""
    order = _shuffled(count, np.random.PCG64(seed))
    held_out = int(share * count + 0.5)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def by_class(labels: np.ndarray) -> list[np.ndarray]:
    """The indices of each class's samples, int64, ascending; the classes ascending. Linear in the number of classes.

    Args:
        labels: int64 [N], at least one.
    """
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As ``random_split``, within each class. A class keeps at least one sample on the first side.

    Args:
        labels: int64 [N].
        share: in [0, 1]; a class of n samples gives floor(share * n + 1/2) to the second side.
    """
    stream = np.random.PCG64(seed)
    rest, held_out = [], []
    for members in by_class(labels):
        members = members[_shuffled(len(members), stream)]
        count = min(int(share * len(members) + 0.5), len(members) - 1)
        held_out.append(members[:count])
        rest.append(members[count:])
    return np.sort(np.concatenate(rest)), np.sort(np.concatenate(held_out))


def class_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As ``random_split``, of whole classes: no class is on both sides.

    Args:
        labels: int64 [N].
        share: of the n classes that have two images or more, floor(share * n + 1/2) go to the second side; the others
            could not be searched for each other.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    searchable = classes[sizes > 1]
    _, chosen = random_split(len(searchable), share, seed)
    held_out = np.isin(labels, searchable[chosen])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def even_choice(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` indices, ascending, drawn at random, as many from each class as it has: int64."""
    return round_robin(labels, _shuffled(len(labels), np.random.PCG64(seed)), count)


def round_robin(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` indices, ascending, when each class in turn gives its next one in ``order``.

    Args:
        labels: int64 [N].
        order: a permutation of 0 to N - 1.
    """
    turn = np.empty(len(labels), dtype=np.int64)  # of each sample of ``order``
    for members in by_class(labels[order]):
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn, kind="stable")][:count])


def _shuffled(count: int, stream: np.random.PCG64) -> np.ndarray:
    return np.argsort(stream.random_raw(count), kind="stable")
