from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data.splits import by_class, class_split, random_split, round_robin, stratified_split
from validators.curves import spread

shares = st.floats(0, 1)
seeds = st.integers(0, 2**31)


def test_the_split_is_pinned_so_that_no_numpy_changes_it() -> None:
    # PCG64(0)'s first ten raw numbers, in 10^18: 11.7 5.0 0.8 0.3 15.0 16.8 11.2 13.5 10.0 17.2
    rest, held_out = random_split(10, 0.3, seed=0)
    assert held_out.tolist() == [1, 2, 3]
    assert rest.tolist() == [0, 4, 5, 6, 7, 8, 9]
    # Class 0 gets the first five numbers, class 1 the last five: the two smallest are 3, 2 and 3, 1.
    rest, held_out = stratified_split(np.array([0, 1] * 5), 0.4, seed=0)
    assert held_out.tolist() == sorted([2 * 3, 2 * 2, 2 * 3 + 1, 2 * 1 + 1])


@given(st.integers(0, 200), shares, seeds)
def test_random_split_takes_every_index_once(count: int, share: float, seed: int) -> None:
    rest, held_out = random_split(count, share, seed)
    assert sorted([*rest, *held_out]) == list(range(count))
    assert abs(len(held_out) - share * count) <= 0.5


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), shares, seeds)
def test_stratified_split_takes_every_index_once_and_the_share_of_each_class(
    labels: list[int], share: float, seed: int
) -> None:
    array = np.array(labels)
    rest, held_out = stratified_split(array, share, seed)
    assert sorted([*rest, *held_out]) == list(range(len(labels)))
    for label in set(labels):
        size, held = labels.count(label), int((array[held_out] == label).sum())
        assert held < size
        assert abs(held - share * size) <= 0.5 or held == size - 1


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), shares, seeds)
def test_class_split_divides_no_class_and_holds_out_only_what_can_be_searched(
    labels: list[int], share: float, seed: int
) -> None:
    array = np.array(labels)
    rest, held_out = class_split(array, share, seed)
    assert sorted([*rest, *held_out]) == list(range(len(labels)))
    assert not set(array[rest]) & set(array[held_out])
    searchable = [label for label in set(labels) if labels.count(label) > 1]
    assert abs(len(set(array[held_out])) - share * len(searchable)) <= 0.5
    assert set(array[held_out]) <= set(searchable)


def test_the_papers_sizes_of_sun397() -> None:
    train, test = random_split(96_090, 0.2, seed=0)
    assert (len(train), len(test)) == (76_872, 19_218)


@pytest.mark.parametrize("split", [partial(random_split, 100, 0.2), partial(stratified_split, np.arange(100) % 4, 0.2)])
def test_seeds_matter(split: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
    first, again, other = split(seed=0)[1], split(seed=0)[1], split(seed=1)[1]
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_by_class_gives_what_one_mask_a_class_gives(labels: list[int]) -> None:
    array = np.array(labels)
    masks = [np.flatnonzero(array == label) for label in sorted(set(labels))]
    assert [rows.tolist() for rows in by_class(array)] == [rows.tolist() for rows in masks]


class Counted(np.ndarray):
    """An array that counts the elements that arithmetic and comparisons go through."""

    touched = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        Counted.touched += self.size
        plain = [value.view(np.ndarray) if isinstance(value, Counted) else value for value in inputs]
        return getattr(ufunc, method)(*plain, **options)


@pytest.mark.parametrize(
    ("divide", "linear"),
    [
        (lambda labels: stratified_split(labels, 0.5, 0), True),
        (lambda labels: round_robin(labels, np.arange(len(labels)), 10), True),
        (lambda labels: spread(labels, 1), True),
        (lambda labels: [np.flatnonzero(labels == label) for label in np.unique(labels)], False),  # the control
    ],
)
def test_many_classes_cost_no_more_than_few(divide: Callable[[np.ndarray], Any], linear: bool) -> None:
    touched = []
    for classes in (4, 400):
        Counted.touched = 0
        divide((np.arange(4000) % classes).view(Counted))
        touched.append(Counted.touched)
    assert (touched[1] <= 2 * touched[0]) == linear
