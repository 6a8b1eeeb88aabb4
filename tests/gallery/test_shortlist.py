"""The shortlist's answer is the exhaustive one, also where float32 alone would get it wrong."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from compress.gallery.shortlist import Shortlist
from validators.metrics import nearest_neighbours

Distance = Literal["l2", "cosine"]


def galleries(D: int) -> dict[str, np.ndarray]:
    """float32 [300, D]: usual features, and those that float32 products cannot tell apart or cannot hold."""
    draw = np.random.default_rng(0)
    usual = draw.standard_normal((300, D)).astype(np.float32)
    return {
        "usual": usual,
        "copies": np.repeat(usual[:30], 10, axis=0),
        "nearly alike": (1 + 1e-6 * usual).astype(np.float32),
        "far from the origin": usual + np.float32(1e4),
        "tiny": usual * np.float32(1e-30),
        "huge": usual * np.float32(1e25),
        "zero rows": np.where(np.arange(300)[:, None] % 3, usual, 0).astype(np.float32),
        "of very different lengths": (usual * np.logspace(-3, 3, 300)[:, None]).astype(np.float32),
    }


@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("name", galleries(4))
def test_it_finds_what_an_exhaustive_search_finds(name: str, distance: Distance) -> None:
    compared = 0
    for D in (3, 64, 1000):
        gallery = galleries(D)[name]
        shortlist = Shortlist(gallery, distance)
        for query in [*gallery[::50], gallery[0] * np.float32(1.00001), np.zeros(D, np.float32)]:
            for k in (1, 10, 500):
                expected = nearest_neighbours(query[None], gallery, k, distance=distance)[0]
                assert shortlist.nearest(query, k).tolist() == expected.tolist()
                compared += 1
    assert compared == 3 * 8 * 3


def test_an_image_whose_product_overflows_is_measured() -> None:
    """The second image's product is infinite in float32, so its value there says nothing."""
    gallery = np.array([[3e19, 0], [3e19, 3e19], [3.1e19, 0]], np.float32)
    assert Shortlist(gallery, "l2").candidates(gallery[0], 1).tolist() == [0, 1, 2]
    assert Shortlist(gallery, "l2").nearest(gallery[0], 3).tolist() == [0, 2, 1]


def test_float32_alone_gets_some_of_them_wrong() -> None:
    gallery = galleries(64)["nearly alike"]
    rounded = np.argsort(np.square(gallery).sum(axis=1) - 2 * gallery @ gallery[0], kind="stable")[:10]
    assert rounded.tolist() != nearest_neighbours(gallery[:1], gallery, 10)[0].tolist()


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_few_images_of_a_usual_gallery_are_measured_exactly(distance: Distance) -> None:
    gallery = galleries(1000)["usual"]
    assert len(Shortlist(gallery, distance).candidates(gallery[0], 10)) < 30


def test_what_cannot_be_ranked() -> None:
    gallery = galleries(4)["usual"]
    with pytest.raises(ValueError, match="NaN or infinity"):
        Shortlist(gallery, "l2").nearest(np.full(4, np.nan, np.float32), 3)
    gallery[7, 2] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        Shortlist(gallery, "l2").nearest(gallery[0], 3)
