from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from compress.contracts import ImageSet
from compress.data.batches import batches


def image_set(count: int) -> ImageSet:
    images = np.arange(count * 8 * 8 * 3).reshape(count, 8, 8, 3).astype(np.uint8)
    return ImageSet(images, np.arange(count) * 10, tuple(map(str, range(count))))


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
def test_gives_every_image_with_its_label_in_the_order_asked_for(prefetch: int) -> None:
    data = image_set(23)
    order = np.random.default_rng(0).permutation(23)
    got = list(batches(data, 5, order, prefetch))
    assert [len(labels) for _, labels in got] == [5, 5, 5, 5, 3]
    assert np.concatenate([labels for _, labels in got]).tolist() == (order * 10).tolist()
    images = np.concatenate([images for images, _ in got])
    assert (images == np.asarray(data.images)[order]).all()
    assert not (images == np.asarray(data.images)).all()
    assert not reader_threads()


def test_no_images_give_no_batches() -> None:
    assert list(batches(image_set(3), 2, np.array([], dtype=np.int64))) == []


class Watched:
    """Says when a batch has been read."""

    def __init__(self, images: Any) -> None:
        self.images = images
        self.read = threading.Semaphore(0)
        self.count = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        self.count += 1
        self.read.release()
        return self.images[index]


def test_reads_ahead_while_a_batch_is_in_use_and_ends_when_the_consumer_stops() -> None:
    data = image_set(40)
    watched = Watched(data.images)
    iterator = batches(ImageSet(watched, data.labels, data.ids), 2, np.arange(40), prefetch=2)
    next(iterator)
    for _ in range(3):  # the one in use and two ahead
        assert watched.read.acquire(timeout=30)
    assert reader_threads()
    iterator.close()  # type: ignore[attr-defined]
    assert not reader_threads()
    assert watched.count == 3


def test_an_error_of_the_source_reaches_the_consumer() -> None:
    class Broken(Watched):
        def __getitem__(self, index: Any) -> Any:
            if 6 in index:
                raise OSError("disk gone")
            return self.images[index]

    data = image_set(10)
    iterator = batches(ImageSet(Broken(data.images), data.labels, data.ids), 2, np.arange(10))
    assert [next(iterator)[1].tolist() for _ in range(3)] == [[0, 10], [20, 30], [40, 50]]
    with pytest.raises(OSError, match="disk gone"):
        next(iterator)
    assert not reader_threads()
