"""Compare images by local features: nearest neighbours, then geometric verification (DELF, ICCV 2017, section 3.4).

A packed embedding holds L features of one image, one after the other: 40 values of unit length, the location (y, x) as
shares of the image's height and width, and the attention score. It needs only NumPy, so that an app can copy it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.contracts import LOCAL_DIM

STRONGEST = 64
"""Number of features per image that are matched, those with the highest scores."""
RERANK = 100
"""Number of gallery images per query that are verified: the nearest by ``global_vectors``."""
HYPOTHESES = 128
"""Number of pairs that RANSAC tries; if a third of the matches is right, 1 in 10^6 searches finds no right pair."""
TOLERANCE = 0.15
"""Largest distance of a match from its location by the similarity, as a share of the image, in both images.

A little more than the step of an 8 x 8 map, and not a distance between two of its locations, so that rounding does not
decide.
"""
FEWEST = 8
"""Fewer verified matches than this occur by chance and count as none."""

RULE = (
    f"of each image's {STRONGEST} strongest features, those without a verified match, plus half the cosine distance of "
    f"their weighted mean; a query's {RERANK} nearest by that mean are verified by RANSAC, fewer than {FEWEST} matches "
    "being none"
)
"""The definition of the distance in words."""

_SCALES = (1 / 3, 3.0)
_PACKED = LOCAL_DIM + 3
_DRAWS = np.random.Generator(np.random.PCG64(0)).random((HYPOTHESES, 2))


@dataclass(frozen=True)
class LocalFeatures:
    """L local features of each of N images.

    Attributes:
        features: [N, L, 40], of unit length.
        locations: [N, L, 2], (y, x) of the centre of the described area, in [0, 1] from the upper left corner.
        scores: [N, L], at least 0; higher is more important.
    """

    features: np.ndarray
    locations: np.ndarray
    scores: np.ndarray

    def strongest(self, count: int) -> LocalFeatures:
        """Select each image's ``count`` features with the highest scores; equal scores keep their order."""
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :count]
        return LocalFeatures(
            np.take_along_axis(self.features, order[..., None], 1),
            np.take_along_axis(self.locations, order[..., None], 1),
            np.take_along_axis(self.scores, order, 1),
        )


def unpack(embeddings: np.ndarray) -> LocalFeatures:
    """Unpack the embeddings [N, L * 43] of artifacts.

    Raises:
        ValueError: the length is not a multiple of 43.
    """
    if embeddings.ndim != 2 or not embeddings.shape[1] or embeddings.shape[1] % _PACKED:
        raise ValueError(f"local features {list(embeddings.shape)} must be [N, L * {_PACKED}] with L >= 1")
    table = embeddings.reshape(len(embeddings), -1, _PACKED)
    return LocalFeatures(table[..., :LOCAL_DIM], table[..., LOCAL_DIM:-1], table[..., -1])


def global_vectors(embeddings: np.ndarray) -> np.ndarray:
    """Average each image's features, weighted with their scores: float64 [N, 40] of unit length."""
    local = unpack(embeddings)
    sums = np.einsum("nl,nld->nd", local.scores, local.features, dtype=np.float64)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(norms > 0, norms, 1))


@dataclass(frozen=True)
class Matches:
    """The m matches between two images.

    Attributes:
        first, second: [m, 2], (y, x) of each match in both images, as shares of height and width.
        verified: bool [m], whether the match agrees with the similarity (turn, zoom, shift) on which most agree.
    """

    first: np.ndarray
    second: np.ndarray
    verified: np.ndarray


def match(first: np.ndarray, second: np.ndarray) -> Matches:
    """Match two images by their packed embeddings, [D] each: mutual nearest neighbours among the strongest features."""
    one, other = (unpack(packed[None]).strongest(STRONGEST) for packed in (first, second))
    pairs = _paired(one, other)
    count = int(pairs.count[0])
    verified = _agreeing(pairs)[0, :count]
    here, there = (np.stack((each[0, :count].imag, each[0, :count].real), 1) for each in (pairs.first, pairs.second))
    return Matches(here, there, verified)


def verified_matches(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Count verified matches of one packed embedding [D] with each of [n, D]: int64 [n]; 0 if below ``FEWEST``."""
    one, others = (unpack(packed).strongest(STRONGEST) for packed in (query[None], gallery))
    counts = _agreeing(_paired(one, others)).sum(axis=1)
    return np.asarray(np.where(counts < FEWEST, 0, counts))


def pair_distances(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Compute the distance of one packed embedding [D] to each of [n, D], all of them verified: float64 [n].

    It is the number of features without a verified match, of ``STRONGEST``, plus half the cosine distance of the global
    vectors, which is in [0, 1].
    """
    found = _unverified(global_vectors(query[None]), global_vectors(gallery))[0]
    return np.asarray(found - verified_matches(query, gallery))


class LocalDistances:
    """Computes ``pair_distances`` of Q queries to G gallery images; a query's ``RERANK`` nearest are verified.

    Args:
        queries: packed, [Q, D].
        gallery: [G, D].
    """

    def __init__(self, queries: np.ndarray, gallery: np.ndarray) -> None:
        self._queries, self._gallery = queries, gallery
        self._query_vectors, self._gallery_vectors = global_vectors(queries), global_vectors(gallery)

    def block(self, queries: slice | np.ndarray) -> np.ndarray:
        """float32 [n, G], at least 0."""
        found = _unverified(self._query_vectors[queries], self._gallery_vectors)
        for row, query in zip(found, self._queries[queries], strict=True):
            shortlist = np.argsort(row, kind="stable")[:RERANK]
            row[shortlist] -= verified_matches(query, self._gallery[shortlist])
        return found.astype(np.float32)


def _unverified(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Compute distances by the global vectors alone: float64 [Q, G]."""
    return np.asarray(STRONGEST + (1 - queries @ gallery.T).clip(0, 2) / 2)


@dataclass(frozen=True)
class _Pairs:
    """Matched locations of n pairs of images, complex x + iy [n, m]; a pair has its first ``count``, [n], of them."""

    first: np.ndarray
    second: np.ndarray
    count: np.ndarray


def _paired(one: LocalFeatures, others: LocalFeatures) -> _Pairs:
    """Pair each feature of one image with its nearest of another, if each is the other's nearest."""
    # After rounding from float64, equal features have equal similarity wherever they are in memory; the first is taken.
    alike = (others.features.astype(np.float64) @ one.features[0].astype(np.float64).T).astype(np.float32)
    there, back = alike.argmax(axis=1), alike.argmax(axis=2)
    mutual = np.take_along_axis(back, there, axis=1) == np.arange(there.shape[1])
    count = mutual.sum(axis=1)
    order = np.argsort(~mutual, axis=1, kind="stable")[:, : max(1, int(count.max(initial=0)))]
    first = _complex(one.locations)[0][order]
    second = np.take_along_axis(_complex(others.locations), np.take_along_axis(there, order, 1), 1)
    return _Pairs(first, second, count)


def _complex(locations: np.ndarray) -> np.ndarray:
    return locations[..., 1].astype(np.float64) + 1j * locations[..., 0]


def _agreeing(pairs: _Pairs) -> np.ndarray:
    """bool [n, m]: RANSAC (Fischler and Bolles 1981) for z -> turn * z + shift, which two matches determine."""
    first, second = pairs.first, pairs.second
    count = pairs.count[:, None]
    among = np.arange(first.shape[1]) < count
    # Each draw has two different matches; if a pair has fewer, their span below is 0.
    here = np.minimum((_DRAWS[:, 0] * count).astype(np.int64), np.maximum(count - 1, 0))
    there = (here + 1 + (_DRAWS[:, 1] * (count - 1)).astype(np.int64)) % np.maximum(count, 1)
    start, end, to_start, to_end = (
        np.take_along_axis(places, index, 1) for places in (first, second) for index in (here, there)
    )
    span = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = (to_end - to_start) / span
        zoom = np.abs(turn)
        usable = (span != 0) & (zoom >= _SCALES[0]) & (zoom <= _SCALES[1])
    turn = np.where(usable, turn, 0)
    shift = to_start - turn * start
    limit = np.where(usable, TOLERANCE * np.minimum(1, zoom), -1)
    error = np.abs(turn[..., None] * first[:, None] + shift[..., None] - second[:, None])
    agrees = (error <= limit[..., None]) & among[:, None]
    best = agrees.sum(axis=2).argmax(axis=1)
    return np.asarray(np.take_along_axis(agrees, best[:, None, None], 1)[:, 0])
