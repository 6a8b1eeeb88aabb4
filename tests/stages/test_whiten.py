"""Whitening against its definition, folded into the network exactly, and better than none where it should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from architectures.alnet import ALNet
from architectures.gem import GeM
from compress.contracts import BadInput, Data, EmbeddingSpec, ImageSet, Model, TrainingPairs
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.model.reference import embed
from compress.stages._linear_end import inputs_of
from compress.stages.whiten import Whiten, covariance_of_pairs, covariance_within, whitening_of

TRUNK = ALNet(widths=(16, 16), strides=(2, 2), expansions=(1, 3), cbam=False, head_width=32)


@pytest.fixture(scope="module")
def data() -> Data:
    whole = load_data(Digits(image_size=20), seed=0)
    rows = np.arange(200) * len(whole.train) // 200
    few = ImageSet(whole.train.images[rows], whole.train.labels[rows], tuple(whole.train.ids[row] for row in rows))
    return replace(whole, train=few)


def model(data: Data, dim: int | None) -> Model:
    torch.manual_seed(0)
    architecture = GeM(trunk=TRUNK, dim=dim)
    network = architecture.build(len(data.classes)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():  # without statistics of its own all images have nearly one feature
        network.train()(torch.from_numpy(data.train.images[:]).permute(0, 3, 1, 2) / 128 - 1)
    network.eval()
    spec = EmbeddingSpec(network.embedding_dim, distance="l2")  # type: ignore[arg-type]
    return Model(architecture, network, data.classes, data.preprocess, spec)


def test_differences_within_classes_become_alike_in_all_directions() -> None:
    """By pairs, as eq. 9 of the paper sums them; without labels, by all pairs."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 5)
    mixing = random.normal(size=(6, 6))
    features = random.normal(size=(40, 6))[labels] * 3 + random.normal(size=(200, 6)) @ mixing
    for own, matching in (
        (labels, labels[:, None] == labels[None, :]),
        (np.zeros_like(labels), np.ones((200, 200), bool)),
    ):
        whitened = features @ whitening_of(features, own, 0.0).T
        one, other = np.nonzero(np.triu(matching, 1))
        differences = whitened[one] - whitened[other]
        covariance = differences.T @ differences / len(differences)
        assert covariance / covariance[0, 0] == pytest.approx(np.eye(6), abs=1e-6)
        raw = features[one] - features[other]
        assert not np.allclose(raw.T @ raw / (raw.T @ raw)[0, 0], np.eye(6), atol=0.1)


def test_one_map_worked_by_hand() -> None:
    """Variances 8 and 2, mean 5: the factors are the roots of 5/8 and 5/2; half shrunk, of 5/6.5 and 5/3.5."""
    features = np.array([[2.0, 1], [-2, 1], [2, -1], [-2, -1]]) * np.sqrt(1.5)
    zeros = np.zeros(4, dtype=np.int64)
    assert whitening_of(features, zeros, 0.0) == pytest.approx(np.diag([(5 / 8) ** 0.5, (5 / 2) ** 0.5]))
    assert whitening_of(features, zeros, 0.5) == pytest.approx(np.diag([(5 / 6.5) ** 0.5, (5 / 3.5) ** 0.5]))


@pytest.mark.parametrize("method", ["supervised", "pca"])
def test_it_is_folded_exactly_and_the_logits_stay(data: Data, tmp_path: Path, method: str) -> None:
    before = model(data, dim=8)
    after = Whiten(method=method).run(before, data, seed=0, scratch=tmp_path)  # type: ignore[arg-type]
    features = embed(before, data.train.images).astype(np.float64)
    labels = data.train.labels if method == "supervised" else np.zeros(len(features), dtype=np.int64)
    expected = (features - features.mean(0)) @ whitening_of(features, labels, 0.1).T
    found = embed(after, data.train.images)
    assert found == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())
    assert found != pytest.approx(features, abs=0.1 * np.abs(expected).max())
    with torch.no_grad():
        logits = [
            each.network.classifier(torch.from_numpy(embed(each, data.train.images)))  # type: ignore[operator]
            for each in (before, after)
        ]
    assert torch.allclose(logits[0], logits[1], atol=1e-3)
    assert before.network.projection.weight is not after.network.projection.weight  # type: ignore[union-attr]


def test_networks_without_a_last_linear_layer_are_refused(data: Data) -> None:
    assert Whiten().check(model(data, dim=8)).space is None
    with pytest.raises(BadInput, match=r"^gem does not end in a linear layer .*; set .* model\.dim, or projected$"):
        Whiten().check(model(data, dim=None))


def test_embeddings_that_are_all_alike_are_refused() -> None:
    with pytest.raises(BadInput, match="whiten: no training image's embedding differs"):
        whitening_of(np.ones((4, 3)), np.zeros(4, dtype=np.int64), 0.1)


def test_listed_pairs_replace_classes(data: Data) -> None:
    """By plain loops over the pairs; with all pairs of a class they are the classes."""
    random = np.random.default_rng(1)
    features = random.normal(size=(40, 5)) @ random.normal(size=(5, 5))
    pairs = TrainingPairs(random.integers(0, 40, 70), random.integers(0, 40, 70))
    expected = np.zeros((5, 5))
    for one, other in zip(pairs.queries, pairs.positives, strict=True):
        difference = features[one] - features[other]
        expected += np.outer(difference, difference) / 140
    assert covariance_of_pairs(features, pairs) == pytest.approx(expected)
    labels = np.repeat(np.arange(8), 5)
    one, other = np.nonzero(labels[:, None] == labels[None, :])
    every = covariance_of_pairs(features, TrainingPairs(one, other))
    within = covariance_within(features, labels)
    assert every / every[0, 0] == pytest.approx(within / within[0, 0])


def test_pairs_of_the_data_set_change_the_network(data: Data, tmp_path: Path) -> None:
    start = model(data, 16)
    labels = data.train.labels
    rows = [np.flatnonzero(labels == label)[:2] for label in range(10)]
    listed = replace(data, pairs=TrainingPairs(*np.array(rows).T))
    plain, paired = (Whiten().run(start, each, seed=0, scratch=tmp_path) for each in (data, listed))
    assert embed(plain, data.queries.images) != pytest.approx(embed(paired, data.queries.images), abs=1e-3)


def test_reduction_keeps_the_directions_that_vary_most_once_whitened(data: Data, tmp_path: Path) -> None:
    """The exported layer does what the formula says to its input; more outputs than inputs are refused."""
    start = model(data, 8)
    layer = start.network.linear_end()
    assert layer is not None
    features, labels = inputs_of(start, layer, data.train.images), data.train.labels
    stage = Whiten(reduce=True)
    ended = stage.run(stage.check(start), data, seed=0, scratch=tmp_path)
    whitened = (features - features.mean(0)) @ whitening_of(features, labels, 0.1).T
    found = embed(ended, data.train.images)
    assert found.shape == (200, 8)
    variances = np.linalg.eigvalsh(np.cov(whitened.T, bias=True))[::-1][:8]
    assert np.cov(found.T.astype(np.float64), bias=True) == pytest.approx(np.diag(variances), abs=2e-3 * variances[0])
    gram = whitened @ whitened.T
    assert np.linalg.norm(gram - found @ found.T) < np.linalg.norm(gram - features @ features.T)
    means = np.stack([found[labels == label].mean(0) for label in range(10)])
    nearest = ((found[:, None] - means[None]) ** 2).sum(2).argmin(1)
    with torch.no_grad():
        logits = ended.network.logits(torch.from_numpy(found))
    assert (logits.argmax(1).numpy() == nearest).mean() > 0.99
    with pytest.raises(BadInput, match=r"reduce: 32 values enter the last layer, .* set model\.dim=32 or less"):
        stage.check(model(data, 40))
