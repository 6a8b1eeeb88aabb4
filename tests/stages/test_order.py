"""Batches of several images a class, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from compress.stages._order import epoch_length, epoch_order


def order(labels: np.ndarray, batch_size: int, per_class: int | None, seed: int = 0) -> np.ndarray:
    return epoch_order(labels, batch_size, per_class, np.random.default_rng(seed))


def test_without_a_number_every_image_comes_once_in_the_order_of_old() -> None:
    labels = np.arange(50) % 7
    found = epoch_order(labels, 16, None, np.random.Generator(np.random.PCG64([3, 4])))
    assert found.tolist() == np.random.Generator(np.random.PCG64([3, 4])).permutation(50).tolist()
    assert epoch_length(labels, 16, None) == 3


SIZES = {
    "equal": [8] * 10,
    "of every size": [1, 2, 3, 8, 9, 17, 30],
    "one large": [500, *[6] * 9],
    "two large": [300, 200, *[3] * 20],
    "as many as a batch holds": [40, 2, 2, 90],
    "single images": [1] * 37,
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("per_class", [2, 3, 4])
def test_every_batch_holds_exactly_its_classes(sizes: list[int], per_class: int) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    together = 4
    for seed in range(5):
        batches = order(labels, together * per_class, per_class, seed).reshape(-1, together, per_class)
        assert len(batches) == epoch_length(labels, together * per_class, per_class)
        named = labels[batches]
        assert (named == named[..., :1]).all()  # a group has one label
        assert all(len(set(batch[:, 0])) == together for batch in named)
        counts = np.bincount(batches.ravel(), minlength=len(labels))
        for label in range(len(sizes)):
            own = counts[labels == label]
            assert own.max() - own.min() <= 1  # none repeats before all have come


def test_the_number_of_batches_is_that_of_one_pass() -> None:
    labels = np.repeat(np.arange(10), [500, *[6] * 9])
    assert epoch_length(labels, 16, 4) == (125 + 9 * 2) // 4
    assert epoch_length(np.repeat(np.arange(10), 8), 16, 4) == 5
    assert epoch_length(np.arange(4), 16, 4) == 1


def test_balanced_classes_show_every_image_once() -> None:
    labels = np.repeat(np.arange(10), 8)
    assert sorted(order(labels, 8, 4)) == list(range(80))


def test_every_class_comes_in_some_epoch() -> None:
    """37 classes of one image, four in a batch: one class is left over, each time another one."""
    labels = np.arange(37)
    left_over = [*({*range(37)} - {*order(labels, 8, 2, seed).tolist()} for seed in range(10))]
    assert all(len(classes) == 1 for classes in left_over)
    assert len({*map(frozenset, left_over)}) > 5


def test_classes_meet_different_classes() -> None:
    """All pairs of 12 classes are seen together within a few epochs, so none is always shown the same negatives."""
    labels = np.repeat(np.arange(12), 16)
    met = np.zeros((12, 12), dtype=bool)
    for seed in range(5):
        for batch in labels[order(labels, 8, 2, seed).reshape(-1, 4, 2)[..., 0]]:
            met[np.ix_(batch, batch)] = True
    assert met.all()


def test_fewer_classes_than_a_batch_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="a batch holds 4 classes, there are 3"):
        order(np.repeat(np.arange(3), 8), 16, 4)


def test_the_generator_decides() -> None:
    labels = np.repeat(np.arange(40), 2)
    assert order(labels, 16, 2, seed=1).tolist() == order(labels, 16, 2, seed=1).tolist()
    assert order(labels, 16, 2, seed=1).tolist() != order(labels, 16, 2, seed=2).tolist()
    assert len(set(labels[order(labels, 16, None)[:16]])) > 10
