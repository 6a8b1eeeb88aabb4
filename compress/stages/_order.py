"""In which order an epoch sees the training images."""

from __future__ import annotations

import numpy as np

from compress.data.splits import by_class


def epoch_length(labels: np.ndarray, batch_size: int, per_class: int | None) -> int:
    """Number of batches in an epoch.

    Args:
        labels, per_class: as in ``epoch_order``.
        batch_size: images of a batch.
    """
    if per_class is None:
        return len(labels) // batch_size
    _, sizes = np.unique(labels, return_counts=True)
    return max(1, int((-(-sizes // per_class)).sum()) // (batch_size // per_class))


def epoch_order(labels: np.ndarray, batch_size: int, per_class: int | None, random: np.random.Generator) -> np.ndarray:
    """Indices of images, int64; the same ``random`` gives the same ones.

    Args:
        labels: int64 [N].
        batch_size: images of a batch, a multiple of ``per_class``.
        per_class: None gives a permutation of all images. A number gives ``epoch_length`` batches of exactly
            ``batch_size / per_class`` different classes with so many images each, one class after the other. The number
            of batches is that of one pass over all images. A class that would have to come twice in a batch gives fewer
            images; the smallest classes come more often instead. No image of a class repeats before all have come.

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
    """How often each class comes: at most once a batch, ``batches * together`` times in all.

    Args:
        groups: int64 [C], how often each class has to come to show all of its images.
    """
    counts = np.minimum(groups, batches)
    missing = batches * together - int(counts.sum())
    # Where the last batch would stay incomplete, the largest classes come less often.
    return _raised(counts, missing, random) if missing >= 0 else -_raised(-counts, -missing, random)


def _raised(counts: np.ndarray, missing: int, random: np.random.Generator) -> np.ndarray:
    """``counts`` with ``missing`` added where they are lowest; ``random`` decides between equal ones."""
    order = random.permutation(len(counts))
    order = order[np.argsort(counts[order], kind="stable")]
    lowest = counts[order]
    # The first n are raised to one level: to that of the n-th it takes cost[n - 1].
    cost = np.arange(1, len(lowest) + 1) * lowest - np.cumsum(lowest)
    n = int(np.searchsorted(cost, missing, "right"))
    level, rest = divmod(int(lowest[:n].sum()) + missing, n)
    lowest[:n] = level + (np.arange(n) < rest)
    raised = np.empty_like(lowest)
    raised[order] = lowest
    return raised


def _arranged(counts: np.ndarray, batches: int, together: int, random: np.random.Generator) -> list[np.ndarray]:
    """For each batch ``together`` different classes, class c being in ``counts[c]`` batches.

    A class that must be in every batch that is left is taken first; the others come as they were shuffled, so that the
    work is linear in the number of groups.
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
                continue  # comes in every batch from now on
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
