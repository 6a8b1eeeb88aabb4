"""Workers share the threads of the BLAS library among them and give them back."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from validators._blocks import block_pool
from validators.metrics import retrieve


def _threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("given", [1, 2])
def test_each_product_gets_its_share_and_the_library_all_of_them_back(given: int) -> None:
    with threadpool_limits(given, user_api="blas"):
        before = _threads()
        with block_pool() as pool:
            assert pool._max_workers == max(before) + 1
            assert set(pool.map(lambda _: max(_threads()), range(8))) == {1}
        assert _threads() == before and before


def test_a_failure_in_a_block_gives_them_back_too() -> None:
    before = _threads()

    def fail(_: int) -> None:
        raise ValueError("a block")

    with pytest.raises(ValueError, match="a block"), block_pool() as pool:
        list(pool.map(fail, range(3)))
    assert _threads() == before


def test_scores_do_not_depend_on_the_threads() -> None:
    random = np.random.default_rng(0)
    queries, gallery = random.standard_normal((300, 40)), random.standard_normal((30_000, 40))
    labels = random.integers(0, 7, 30_000)
    scores = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            scores.append(retrieve(queries, gallery, labels[:300], labels, metrics=("mAP", "P@10")).per_query_ap)
    assert np.array_equal(*scores)
