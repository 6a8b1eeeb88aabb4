"""Mining and the loss of tuples against plain loops; a run that learns, resumes exactly and is refused with reasons."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures.alnet import ALNet
from architectures.gem import GeM
from compress.contracts import BadInput, Data, Division, EmbeddingSpec, ImageSet, Model, TrainingPairs
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.contrastive import Contrastive
from compress.stages._fit import _Progress
from compress.stages._tuples import MinedTuples, TupleContrastive, hardest, unit
from compress.stages.mined_pairs import MinedPairs
from tests._stages import with_options

SMALL = GeM(trunk=ALNet(widths=(16, 16), strides=(2, 2), expansions=(1, 3), cbam=False, head_width=32), dim=16)


@pytest.fixture(scope="module")
def data() -> Data:
    """200 digits to train on, 100 to choose."""
    whole = load_data(Digits(image_size=20), seed=0)

    def few(images: ImageSet, count: int) -> ImageSet:
        rows = np.arange(count) * len(images) // count
        return ImageSet(images.images[rows], images.labels[rows], tuple(images.ids[row] for row in rows))

    return replace(whole, train=few(whole.train, 200), validation=few(whole.validation, 100))


def fresh(data: Data, distance: Any = "cosine") -> Model:
    torch.manual_seed(0)
    network = SMALL.build(len(data.classes))
    return Model(SMALL, network, data.classes, data.preprocess, EmbeddingSpec(16, distance=distance))


def test_negatives_are_the_nearest_of_other_clusters_one_of_each() -> None:
    random = np.random.default_rng(0)
    queries, pool = (unit(random.normal(size=(count, 5))) for count in (30, 80))
    own, clusters = random.integers(0, 9, 30), random.integers(0, 9, 80)
    found = hardest(queries, pool, own, clusters, 4)
    for row, query in enumerate(queries):
        expected: list[int] = []
        for image in sorted(range(80), key=lambda each: float(((query - pool[each]) ** 2).sum())):
            if clusters[image] != own[row] and clusters[image] not in [clusters[each] for each in expected]:
                expected.append(image)
        assert found[row].tolist() == expected[:4]


def test_the_loss_is_equation_4_in_plain_loops() -> None:
    random = np.random.default_rng(1)
    embeddings = random.normal(size=(12, 6))  # two tuples of query, positive and four negatives
    total = 0.0
    for first in (0, 6):
        query, positive, *negatives = (each / math.sqrt(each @ each) for each in embeddings[first : first + 6])
        total += ((query - positive) ** 2).sum() / 2
        total += sum(max(1.2 - math.sqrt(((query - each) ** 2).sum()), 0) ** 2 / 2 for each in negatives)
    arguments = torch.from_numpy(embeddings).requires_grad_(), torch.zeros(12, 3), torch.zeros(12)
    value = TupleContrastive(1.2, 4)(*arguments)
    assert float(value) == pytest.approx(total / 2)
    assert float(TupleContrastive(1.2, 2)(*arguments)) != pytest.approx(total / 2, rel=1e-3)
    same = torch.ones(6, 4, requires_grad=True)
    TupleContrastive(0.7, 4)(same, same, same).backward()
    assert same.grad is not None and same.grad.isfinite().all()  # identical images have a distance, but no direction


@pytest.mark.parametrize("listed", [True, False])
def test_an_epoch_is_made_of_tuples_mined_with_the_weights_of_the_moment(listed: bool) -> None:
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(12), 5)
    starts = np.arange(12) * 5
    pairs = TrainingPairs(np.concatenate([starts, starts + 1]), np.concatenate([starts + 3, starts + 4]))
    features = random.normal(size=(60, 4)).astype(np.float32)
    asked: list[int] = []

    def embed(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return features[rows]

    tuples = MinedTuples(labels, pairs if listed else None, negatives=3, queries=20, pool=40, batch_size=10)
    order = tuples.order(np.random.default_rng(0), embed)
    assert len(order) == tuples.steps * 10 == 100
    assert len(asked) == 1 and 40 <= asked[0] <= 60  # once an epoch
    known = set(zip(pairs.queries.tolist(), pairs.positives.tolist(), strict=True))
    for query, positive, *negatives in order.reshape(-1, 5).tolist():
        assert labels[query] == labels[positive] and query != positive
        assert ((query, positive) in known) or not listed
        assert len({labels[query], *labels[negatives]}) == 4
    moved = features[::-1].copy()
    other = tuples.order(np.random.default_rng(0), lambda rows: moved[rows])
    assert (order.reshape(-1, 5)[:, :2] == other.reshape(-1, 5)[:, :2]).all()
    assert (order != other).any()
    few = replace(tuples, pool=3)
    with pytest.raises(BadInput, match=r"mined_pairs\.pool: 3 images were drawn"):
        few.order(np.random.default_rng(0), embed)


def test_it_learns_and_a_resumed_run_ends_with_the_same(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"batch_size": 28, "lr": 0.05, "queries": 56, "pool": 80, "schedule": "constant"}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    stage = with_options(MinedPairs, epochs=2, **options)
    whole = stage.run(stage.check(fresh(data)), data, seed=0, scratch=tmp_path / "whole")
    scores = [line["validation_mAP"] for line in whole.history]
    assert len(scores) == 2 and max(scores) > 0.15  # by chance 0.1
    assert whole.space is None

    save, saved = _Progress.save, []

    def killed(progress: _Progress, *arguments: Any) -> None:
        save(progress, *arguments)
        saved.append(progress.epoch)
        if progress.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Progress, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        stage.run(fresh(data), data, seed=0, scratch=tmp_path / "parts")
    monkeypatch.setattr(_Progress, "save", save)
    resumed = stage.run(fresh(data), data, seed=0, scratch=tmp_path / "parts")
    assert saved == [1]
    for one, other in zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_what_does_not_fit_is_refused(data: Data, tmp_path: Path) -> None:
    for options, words in (
        ({"batch_size": 30}, "batch_size: 30 images are no whole number of tuples of 7"),
        ({"per_class": 5}, "per_class: mined_pairs composes its batches itself"),
        ({"loss": Contrastive()}, "loss: mined_pairs has its own loss"),
    ):
        with pytest.raises(BadInput, match=words):
            with_options(MinedPairs, **options).check(fresh(data))
    with pytest.raises(BadInput, match=r"set model\.distance: cosine"):
        with_options(MinedPairs).check(fresh(data, "l2"))
    division = Division(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0]), open_set=False)
    with pytest.raises(BadInput, match=r"negatives: 3 classes train, .* set 2 or less"):
        with_options(MinedPairs).check_data(division)
    with_options(MinedPairs, negatives=2).check_data(division)
    alone = replace(division, train=np.array([0, 1, 2, 3]))
    with pytest.raises(BadInput, match="no class has two training images"):
        with_options(MinedPairs, negatives=2).check_data(alone)
    with pytest.raises(BadInput, match="batch_size: 700 images are more than an epoch's tuples"):
        with_options(MinedPairs, batch_size=700, queries=20).run(fresh(data), data, seed=0, scratch=tmp_path)
