"""recall@k by hand: ties, copies, what is missing, the query itself; and the search that indexes are timed against."""

from __future__ import annotations

import numpy as np
import pytest

from compress.contracts import Distance
from compress.gallery.recall import exhaustive, recall
from tests.indexes._galleries import DISTANCES, brute_force, distance_of, features

LINE = np.arange(10, dtype=np.float32)[:, None]


def of(found: list[int], k: int, own: int = -1, query: float = 0, rows: np.ndarray = LINE) -> float:
    return recall(rows, np.array([[query]], np.float32), np.array([found]), np.array([own]), "l2", k)


def test_worked_by_hand() -> None:
    assert of([0, 1, 2, 3], k=4) == 1
    assert of([3, 2, 1, 0], k=4) == 1  # the order inside does not count, the ranking is made again
    assert of([0, 1, 8, 9], k=4) == 0.5
    assert of([0, -1, -1, -1], k=4) == 0.25
    assert of([0, 0, 0, 0], k=4) == 0.25  # one answer, given four times
    assert of([9, 9, 1, 2, 3, 0], k=4) == 0.75  # 9 takes one of four places
    assert of([-1, -1], k=4) == 0


def test_the_query_itself_is_no_answer_and_takes_no_place() -> None:
    assert of([0, 1, 2, 3, 4], k=4, own=0) == 1
    assert of([1, 2, 3, 4, 5], k=4, own=0) == 1
    assert of([0, 1, 2, 3, 9], k=4, own=0) == 0.75
    assert of([0, -1, -1, -1, -1], k=4, own=0) == 0


def test_k_beyond_the_gallery_and_nothing_to_find() -> None:
    assert of(list(range(10)), k=50) == 1
    assert of(list(range(5)), k=50) == 0.5
    assert of([0], k=5, own=0, rows=LINE[:1]) == 1


def test_equally_distant_images_are_equally_right() -> None:
    rows = np.array([[1], [-1], [1], [5], [-1], [1]], np.float32)
    for pair in ([0, 1], [4, 5], [2, 4]):
        assert of(pair, k=2, rows=rows) == 1
    assert of([0, 3], k=2, rows=rows) == 0.5


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_true_neighbours_have_it_all_and_shifted_or_shuffled_ones_do_not(distance: Distance) -> None:
    rows = features(distance)
    queries, own = rows[:60], np.arange(60)
    true = np.array([[number for _, number in brute_force(query, rows, distance)][:11] for query in queries])
    assert recall(rows, queries, true, own, distance) == 1
    assert recall(rows, queries, (true + 1) % len(rows), own, distance) < 0.6
    shuffled = np.random.default_rng(0).permutation(len(rows))
    assert recall(rows, queries, shuffled[true], own, distance) < 0.6


@pytest.mark.parametrize("distance", DISTANCES)
def test_exhaustive_search_is_exact(distance: Distance) -> None:
    rows = features(distance)
    search = exhaustive(rows, distance)
    for query in features(distance, 20, seed=1):
        for k in (1, 10, 500):
            expected = [each for each, _ in brute_force(query, rows, distance)[:k]]
            found = [distance_of(query, rows[row], distance) for row in search(query, k)]
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
