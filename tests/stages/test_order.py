"""Batches of several images a class, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from compress.stages._order import epoch_order


def order(labels: np.ndarray, per_class: int | None, seed: int = 0) -> np.ndarray:
    return epoch_order(labels, per_class, np.random.default_rng(seed))


def test_without_a_number_every_image_comes_once_in_the_order_of_old() -> None:
    labels = np.arange(50) % 7
    found = epoch_order(labels, None, np.random.Generator(np.random.PCG64([3, 4])))
    assert found.tolist() == np.random.Generator(np.random.PCG64([3, 4])).permutation(50).tolist()


@pytest.mark.parametrize("per_class", [2, 3, 4])
def test_groups_have_one_label_and_every_image_comes(per_class: int) -> None:
    labels = np.repeat(np.arange(5), [1, 2, 3, 8, 9])
    found = order(labels, per_class).reshape(-1, per_class)
    assert all(len(set(labels[group])) == 1 for group in found)
    assert set(found.ravel()) == set(range(len(labels)))
    for label, size in enumerate([1, 2, 3, 8, 9]):
        seen = found[labels[found[:, 0]] == label].ravel()
        assert len(seen) == -(-size // per_class) * per_class
        counts = np.bincount(seen, minlength=len(labels))[labels == label]
        assert counts.max() - counts.min() <= 1  # none repeats before all have come


def test_the_generator_decides() -> None:
    labels = np.repeat(np.arange(40), 2)
    assert order(labels, 2, seed=1).tolist() == order(labels, 2, seed=1).tolist()
    assert order(labels, 2, seed=1).tolist() != order(labels, 2, seed=2).tolist()
    batch = order(labels, 2)[:16]
    assert len(set(labels[batch])) == 8  # images of eight classes, where plain shuffling finds few pairs
    assert len(set(labels[order(labels, None)[:16]])) > 10
