"""Matching of local features against loops, OpenCV and real digits in known places."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from validators import local_matching as matching
from validators.local_matching import LocalDistances, global_vectors, match, pair_distances, unpack, verified_matches
from validators.metrics import evaluate_retrieval, nearest_neighbours

SIDE = 8
CELLS = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=2).reshape(-1, 2)


def pack(features: np.ndarray, locations: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float32 [L * 43] of one image."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return np.concatenate((unit, locations, scores[:, None]), axis=1).astype(np.float32).ravel()


def noise(random: np.random.Generator, count: int) -> np.ndarray:
    return pack(random.normal(size=(count, 40)), random.random((count, 2)), random.random(count))


def test_unpacking_and_the_strongest_by_hand() -> None:
    packed = np.arange(3 * 43, dtype=np.float32)[None]
    packed[0, [42, 85, 128]] = 1, 5, 5
    local = unpack(packed)
    assert local.features[0, 1].tolist() == list(range(43, 83))
    assert local.locations[0, 1].tolist() == [83, 84]
    assert local.strongest(2).scores.tolist() == [[5, 5]]
    assert local.strongest(2).locations[0].tolist() == [[83, 84], [126, 127]]  # equal scores in their order
    with pytest.raises(ValueError, match=r"\[1, 40\] must be \[N, L \* 43\]"):
        unpack(np.zeros((1, 40)))


def test_the_global_vector_by_hand() -> None:
    features = np.eye(40)[:2]
    vector = global_vectors(pack(features, np.zeros((2, 2)), np.array([3.0, 4]))[None])[0]
    assert vector[:3].tolist() == pytest.approx([0.6, 0.8, 0])


def slow(first: np.ndarray, second: np.ndarray) -> int:
    """``verified_matches`` of one pair in plain loops, with the same draws."""
    one, other = (unpack(packed[None]).strongest(matching.STRONGEST) for packed in (first, second))
    alike = np.array([[float(np.float32(a.astype(float) @ b)) for b in other.features[0]] for a in one.features[0]])
    pairs = []
    for i, row in enumerate(alike):
        j = int(row.argmax())
        if int(alike[:, j].argmax()) == i:
            (y, x), (v, u) = one.locations[0, i].astype(float), other.locations[0, j].astype(float)
            pairs.append((complex(x, y), complex(u, v)))
    best = 0
    for a, b in matching._DRAWS:
        i = int(a * len(pairs))
        j = (i + 1 + int(b * (len(pairs) - 1))) % len(pairs)
        if pairs[i][0] == pairs[j][0]:
            continue
        turn = (pairs[j][1] - pairs[i][1]) / (pairs[j][0] - pairs[i][0])
        if not 1 / 3 <= abs(turn) <= 3:
            continue
        shift = pairs[i][1] - turn * pairs[i][0]
        limit = matching.TOLERANCE * min(1, abs(turn))
        best = max(best, sum(abs(turn * p + shift - q) <= limit for p, q in pairs))
    return best if best >= matching.FEWEST else 0


def planted(random: np.random.Generator, right: int, turn: complex, shift: complex) -> tuple[np.ndarray, np.ndarray]:
    """Two images of 64 features, of which the first ``right`` are the same ones, moved by a similarity."""
    features, places, scores = random.normal(size=(64, 40)), random.random((64, 2)), random.random(64)
    moved = turn * (places[:, 1] + 1j * places[:, 0]) + shift
    there = np.stack((moved.imag, moved.real), axis=1)
    others = random.normal(size=(64, 40))
    others[:right] = features[:right] + 0.05 * random.normal(size=(right, 40))
    there[right:] = random.random((64 - right, 2))
    order = random.permutation(64)
    return pack(features, places, scores), pack(others[order], there[order], random.random(64))


@pytest.mark.parametrize("right", [0, 8, 25, 60])
def test_against_loops(right: int) -> None:
    random = np.random.default_rng(right)
    first, second = planted(random, right, 0.8 * np.exp(0.4j), 0.1 - 0.05j)
    gallery = np.stack([second, noise(random, 64), first])
    expected = [slow(first, other) for other in gallery]
    assert verified_matches(first, gallery).tolist() == expected
    assert [int(verified_matches(first, other[None])[0]) for other in gallery] == expected  # alone as among others
    assert expected[2] == 64
    assert (expected[0] >= right * 0.9) if right > 8 else expected[1] < 10


@pytest.mark.parametrize(("turn", "shift"), [(1.0, 0.2j), (0.7 * np.exp(0.6j), 0.3 + 0.1j), (1.6 * np.exp(-2j), 0.4j)])
def test_against_opencv(turn: complex, shift: complex) -> None:
    found = match(*planted(np.random.default_rng(5), 30, turn, shift))
    first, second = (places[:, ::-1].astype(np.float32) for places in (found.first, found.second))
    affine, inliers = cv2.estimateAffinePartial2D(
        first, second, method=cv2.RANSAC, ransacReprojThreshold=matching.TOLERANCE * min(1, abs(turn))
    )
    assert abs(int(inliers.sum()) - int(found.verified.sum())) <= 4
    assert found.verified.sum() >= 30
    assert complex(affine[0, 0], affine[1, 0]) == pytest.approx(turn, abs=0.15)
    assert (inliers.ravel().astype(bool) == found.verified).mean() > 0.85


def test_places_that_are_all_the_same_prove_nothing() -> None:
    random = np.random.default_rng(0)
    features, scores = random.normal(size=(20, 40)), random.random(20)
    flat = pack(features, np.full((20, 2), 0.5), scores)
    assert verified_matches(flat, flat[None]).tolist() == [0]
    one = pack(features[:1], np.zeros((1, 2)), scores[:1])
    assert verified_matches(one, one[None]).tolist() == [0]


@pytest.fixture(scope="module")
def scenes(digit_images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real digits laid out on a grid of 8 x 8: 40 layouts, each with a second layout of the very same digits.

    Queries are the first 20 layouts in parts of 6 x 6, moved, with digits around and noise on every picture.

    Returns:
        queries [20, D], gallery [80, D], and which gallery image each query shows.
    """
    random = np.random.default_rng(1)
    pictures = digit_images[:, :200].reshape(2000, -1).astype(float)
    pictures -= pictures.mean(axis=0)
    _, _, directions = np.linalg.svd(pictures, full_matrices=False)

    def image(digits: np.ndarray, blur: float) -> np.ndarray:
        shown = pictures[digits] + blur * random.normal(size=(len(digits), pictures.shape[1]))
        return pack(shown @ directions[:40].T, (CELLS + 0.5) / SIDE, np.ones(len(digits)))

    layouts = [random.choice(2000, SIDE * SIDE, replace=False) for _ in range(40)]
    gallery = np.stack([image(digits, 0) for each in layouts for digits in (each, random.permutation(each))])
    queries = []
    for digits in layouts[:20]:
        scene = random.choice(2000, (SIDE, SIDE))
        y, x = random.integers(0, 3, 2)
        scene[y : y + 6, x : x + 6] = digits.reshape(SIDE, SIDE)[1:7, 1:7]
        queries.append(image(scene.ravel(), 40))
    return np.stack(queries), gallery, 2 * np.arange(20)


def first_share(distances: np.ndarray, right: np.ndarray) -> float:
    return float((distances.argmin(axis=1) == right).mean())


def test_verification_beats_the_global_vector_and_places_are_why(
    scenes: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    queries, gallery, right = scenes
    by_mean = first_share(1 - global_vectors(queries) @ global_vectors(gallery).T, right)
    verified = first_share(LocalDistances(queries, gallery).block(slice(None)), right)
    random = np.random.default_rng(2)
    shuffled = gallery.reshape(len(gallery), -1, 43).copy()
    for places in shuffled[..., 40:42]:
        random.shuffle(places)
    without = first_share(LocalDistances(queries, shuffled.reshape(gallery.shape)).block(slice(None)), right)
    assert verified >= 0.95
    assert by_mean <= 0.7  # the same digits elsewhere have the same mean
    assert without <= 0.7


def test_only_the_shortlist_is_verified(
    scenes: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, gallery, _ = scenes
    monkeypatch.setattr(matching, "RERANK", 10)
    block = LocalDistances(queries, gallery).block(np.array([3, 0]))
    everything = pair_distances(queries[3], gallery)
    shortlist = np.argsort(1 - global_vectors(gallery) @ global_vectors(queries[3:4])[0], kind="stable")[:10]
    assert block[0, shortlist] == pytest.approx(everything[shortlist], abs=1e-5)
    rest = np.setdiff1d(np.arange(len(gallery)), shortlist)
    assert (block[0, rest] >= matching.STRONGEST).all() and (block[0, rest] <= matching.STRONGEST + 1).all()
    assert block.min() >= 0


def test_metrics_and_neighbours_rank_by_it(scenes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    queries, gallery, right = scenes
    block = LocalDistances(queries, gallery).block(slice(None))
    found = nearest_neighbours(queries, gallery, 5, distance="local")
    assert np.array_equal(found, np.argsort(block, axis=1, kind="stable")[:, :5])
    labels = np.arange(len(gallery))
    scores = evaluate_retrieval(queries, gallery, right, labels, distance="local", metrics=("mAP", "P@1"))
    ranks = (block < block[np.arange(20), right][:, None]).sum(axis=1) + 1
    assert scores["mAP"] == pytest.approx((1 / ranks).mean())
    assert scores["P@1"] == pytest.approx((ranks == 1).mean())
    alone = evaluate_retrieval(
        gallery[:30], gallery[:30], labels[:30] // 2, labels[:30] // 2, distance="local", exclude_self=True
    )
    assert 0 < alone["mAP"] <= 1
