"""The order of the training images in an epoch."""

from __future__ import annotations

import numpy as np

from compress.data.splits import by_class


def epoch_length(labels: np.ndarray, batch_size: int, per_class: int | None) -> int:
    """Number of batches in an epoch.

    Args:
        labels, per_class: as in ``epoch_order``.
        batch_size: number of images in a batch.
    """
    if per_class is None:
        return len(labels) // batch_size
    _, sizes = np.unique(labels, return_counts=True)
    return max(1, int((-(-sizes // per_class)).sum()) // (batch_size // per_class))


def epoch_order(labels: np.ndarray, batch_size: int, per_class: int | None, random: np.random.Generator) -> np.ndarray:
    """Order the images of an epoch: int64 indices; the same ``random`` gives the same order.

    Args:
        labels: int64 [N].
        batch_size: number of images in a batch, a multiple of ``per_class``.
        per_class: None gives a permutation of all images. A number gives ``epoch_length`` batches of exactly
            ``batch_size / per_class`` different classes with this many images each, one class after the other. The
            number of batches is that of one pass over all images. A class that would be needed twice in a batch gives
            fewer images, and the smallest classes are used more often instead. No image of a class is repeated before
            all of them have been used.

    Raises:
        ValueError: there are fewer classes than a batch holds.
    """
    if per_class is None:
        return random.permutation(len(labels))
    shuffled = random.permutation(len(labels))
    members = by_class(labels[shuffled])
    batches, together = epoch_length(labels, batch_size, per_class), batch_size // per_class
    if len(members) < together:
        raise ValueError(f"a batch holds {together} classes, there are {len(members)}")
    groups = _filled(np.array([-(-len(rows) // per_class) for rows in members]), batches, together, random)
    order = np.concatenate(_arranged(groups, batches, together, random))
    images = np.empty((len(order), per_class), dtype=np.int64)
    for places in by_class(order):
        own = shuffled[members[order[places[0]]]]
        images[places] = np.resize(own, (len(places), per_class))  # repeats from the first on
    return images.ravel()


def _filled(groups: np.ndarray, batches: int, together: int, random: np.random.Generator) -> np.ndarray:
    """Compute how often each class is used: at most once per batch, ``batches * together`` times in all.

    Args:
        groups: int64 [C], how often each class must be used to show all of its images.
    """
    counts = np.minimum(groups, batches)
    missing = batches * together - int(counts.sum())
    # If the last batch would be incomplete, the largest classes are used less often.
    return _raised(counts, missing, random) if missing >= 0 else -_raised(-counts, -missing, random)


def _raised(counts: np.ndarray, missing: int, random: np.random.Generator) -> np.ndarray:
    """Add ``missing`` to the lowest ``counts``; ``random`` decides between equal ones."""
    order = random.permutation(len(counts))
    order = order[np.argsort(counts[order], kind="stable")]
    lowest = counts[order]
    # The first n counts are raised to one level; raising them to the n-th count costs cost[n - 1].
    cost = np.arange(1, len(lowest) + 1) * lowest - np.cumsum(lowest)
    n = int(np.searchsorted(cost, missing, "right"))
    level, rest = divmod(int(lowest[:n].sum()) + missing, n)
    lowest[:n] = level + (np.arange(n) < rest)
    raised = np.empty_like(lowest)
    raised[order] = lowest
    return raised


def _arranged(counts: np.ndarray, batches: int, together: int, random: np.random.Generator) -> list[np.ndarray]:
    """Choose ``together`` different classes for each batch, so that class c is in ``counts[c]`` batches.

    A class that must be in every remaining batch is taken first; the others are taken in shuffled order, so that the
    time is linear in the number of groups.
    """
    left = counts.tolist()
    due: dict[int, set[int]] = {}
    for label, count in enumerate(left):
        due.setdefault(count, set()).add(label)
    always: list[int] = []
    shuffled = random.permutation(np.repeat(np.arange(len(counts)), counts)).tolist()[::-1]
    arranged = []
    for remaining in range(batches, 0, -1):
        always += sorted(due.pop(remaining, ()))
        batch, fixed, later = list(always), set(always), []
        while len(batch) < together:
            label = shuffled.pop()
            if label in fixed:
                continue  # is in every remaining batch
            if label in batch:
                later.append(label)
                continue
            batch.append(label)
            due[left[label]].remove(label)
            left[label] -= 1
            due.setdefault(left[label], set()).add(label)
        shuffled += reversed(later)
        arranged.append(random.permutation(batch))
    return arranged
