"""The part of the held-out images that a slow runtime executes: its size, its relevant images, and its scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress.contracts import EmbeddingSpec, GroundTruth, HeldOut, ImageSet, Observation
from validators.checks.retrieval_map import RetrievalMap
from validators.compatibility import compatibility, sample
from validators.held_out_part import HeldOutPart, affordable_part, sampled
from validators.metrics import evaluate_retrieval

SPEC = EmbeddingSpec(8)
PIXELS = 4 * 5


def images(count: int, classes: int, seed: int = 0) -> ImageSet:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 4, 5, 3), np.uint8)
    return ImageSet(pixels, np.arange(count) // -(-count // classes), tuple(f"{seed}/{i}" for i in range(count)))


def features(split: ImageSet, noise: float) -> np.ndarray:
    random = np.random.default_rng(int(100 * noise) + len(split))
    centres = np.random.default_rng(9).normal(size=(int(split.labels.max()) + 1, 8))
    return np.asarray(centres[split.labels] + noise * random.normal(size=(len(split), 8)), np.float32)


def alone(count: int = 900, classes: int = 90) -> HeldOut:
    split = images(count, classes)
    return HeldOut(split, split, split.images[:3])


def separate() -> HeldOut:
    queries, gallery = images(700, 20), images(3000, 20, seed=1)
    return HeldOut(queries, gallery, queries.images[:3])


def chosen(held_out: HeldOut, count: int) -> HeldOutPart:
    part = affordable_part(held_out, count * PIXELS)
    assert part is not None
    return part


def observed(held_out: HeldOut, noise: float) -> Observation:
    queries = features(held_out.queries, noise)
    gallery = queries if held_out.leave_one_out else features(held_out.gallery, noise)
    return Observation(queries, gallery, queries[:3], mean_ap=0.123)


def test_few_images_are_all_executed() -> None:
    assert affordable_part(alone(), 900 * PIXELS) is None
    assert affordable_part(separate(), 3700 * PIXELS) is None
    assert affordable_part(alone(), 899 * PIXELS) is not None
    assert affordable_part(separate(), 3699 * PIXELS) is not None


@pytest.mark.parametrize("most", [2, 40, 100, 499, 899])
def test_alone_each_query_keeps_an_answer(most: int) -> None:
    held_out = alone()
    part = chosen(held_out, most)
    rows, labels = part.queries, held_out.queries.labels
    assert part.gallery is rows
    assert min(most, 500) * 0.9 - 1 <= len(rows) <= most
    assert set(rows) <= set(sampled(held_out).queries)
    assert (np.diff(rows) > 0).all()
    if most == 100:  # 50 queries, each with one of its class; evenly spaced images would have none
        assert all(sum(labels[rows] == labels[row]) >= 2 for row in rows)
    narrowed = part.of(held_out)
    assert narrowed.leave_one_out
    assert np.array_equal(narrowed.queries.images, np.asarray(held_out.queries.images)[rows])
    assert narrowed.queries.ids == tuple(held_out.queries.ids[row] for row in rows)


@pytest.mark.parametrize("most", [40, 400, 2600])
def test_with_a_gallery_each_query_keeps_an_answer(most: int) -> None:
    held_out = separate()
    part = chosen(held_out, most)
    assert len(part.queries) + len(part.gallery) <= most
    assert len(part.queries) <= 500
    assert len(part.gallery) <= 2000
    assert set(held_out.queries.labels[part.queries]) <= set(held_out.gallery.labels[part.gallery])


def test_listed_answers_are_kept_and_renumbered() -> None:
    held_out = separate()
    whole = sampled(held_out).gallery
    relevant = tuple(whole[[query % 2000]] for query in range(700))
    held_out = replace(held_out, ground_truths={"easy": GroundTruth(relevant, (np.empty(0, np.int64),) * 700)})
    part = chosen(held_out, 200)
    truth = part.of(held_out).ground_truth
    assert truth is not None
    assert [len(rows) for rows in truth.relevant] == [1] * len(part.queries)
    for query, rows in zip(part.queries, truth.relevant, strict=True):
        assert part.gallery[rows] == relevant[query]


def test_the_drop_compares_with_pytorch_on_the_same_images() -> None:
    held_out = alone()
    part, right, wrong = chosen(held_out, 100), observed(alone(), 0.2), observed(alone(), 1.5)
    few, rows = part.of(held_out), part.queries
    own = RetrievalMap().run(part.observed(right), part.observed(right), few, SPEC)
    assert own.mAP_drop == 0
    found = RetrievalMap().run(part.observed(right), part.observed(wrong), few, SPEC)
    expected = [
        evaluate_retrieval(f, f, labels, labels, metrics=("mAP",), exclude_self=True)["mAP"]
        for f in (right.queries[rows], wrong.queries[rows])
        for labels in (held_out.queries.labels[rows],)
    ]
    assert found.mAP == pytest.approx(expected[1])
    assert found.mAP_drop == pytest.approx(expected[0] - expected[1])
    assert found.mAP_drop is not None
    assert found.mAP_drop > 0.1
    assert f"{len(rows)} of 900 queries" in part.note(held_out)


@pytest.mark.parametrize("held_out", [alone(), separate()], ids=["alone", "separate"])
@pytest.mark.parametrize("most", [60, 600])
def test_pairs_are_compared_with_the_images_that_all_have(held_out: HeldOut, most: int) -> None:
    right, phone = observed(held_out, 0.2), observed(held_out, 1.0)
    part = chosen(held_out, most)
    samples = {"server": sample(right, held_out), "phone": sample(part.observed(phone), held_out, part)}
    matrix = compatibility(samples, held_out, SPEC)
    queries, gallery = part.queries, part.gallery
    labels = held_out.queries.labels[queries], held_out.gallery.labels[gallery]
    for indexed, server in (("server", right), ("phone", phone)):
        for asking, client in (("server", right), ("phone", phone)):
            expected = evaluate_retrieval(
                client.queries[queries],
                server.gallery[gallery],
                *labels,
                metrics=("mAP",),
                exclude_self=held_out.leave_one_out,
            )
            assert matrix[indexed][asking] == pytest.approx(expected["mAP"])
    assert len({value for row in matrix.values() for value in row.values()}) == 4
