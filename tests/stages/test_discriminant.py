"""Linear discriminant analysis: its definition, its place in the network, and what it gains and costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from architectures.alnet import ALNet
from architectures.projected import Projected
from compress.contracts import BadInput, Data, Division, EmbeddingSpec, ImageSet, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.model.reference import embed
from compress.stages._linear_end import inputs_of
from compress.stages.discriminant import Discriminant
from validators.metrics import evaluate_retrieval

TRUNK = ALNet(widths=(16, 16), strides=(2, 2), expansions=(1, 3), cbam=False, head_width=256)


@pytest.fixture(scope="module")
def data() -> Data:
    whole = load_data(Digits(image_size=20), seed=0)
    rows = np.arange(1500) * len(whole.train) // 1500
    few = ImageSet(whole.train.images[rows], whole.train.labels[rows], tuple(whole.train.ids[row] for row in rows))
    return replace(whole, train=few)


def model(data: Data, dim: int = 9) -> Model:
    """Random weights with batch normalisation fitted: features that a linear layer can make better."""
    torch.manual_seed(0)
    architecture = Projected(trunk=TRUNK, dim=dim)
    network = architecture.build(len(data.classes)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.from_numpy(data.train.images[:]).permute(0, 3, 1, 2) / 128 - 1)
    network.eval()
    spec = EmbeddingSpec(dim, distance="l2")
    return Model(architecture, network, data.classes, data.preprocess, spec)


def mean_ap(made: Model, data: Data) -> float:
    features, labels = embed(made, data.queries.images), data.queries.labels
    return evaluate_retrieval(features, features, labels, labels, exclude_self=True, metrics=("mAP",))["mAP"]


def test_directions_maximise_what_differs_between_classes_over_what_differs_within(data: Data, tmp_path: Path) -> None:
    """Against the definition: the eigenvectors of the covariance between classes relative to that within them."""
    before = model(data)
    after = Discriminant(shrink=0.001).run(before, data, seed=0, scratch=tmp_path)
    layer = before.network.linear_end()
    assert layer is not None
    features, labels = inputs_of(before, layer, data.train.images), data.train.labels
    within = np.zeros((features.shape[1],) * 2)
    for label in np.unique(labels):
        own = features[labels == label]
        covariance = np.cov(own.T, bias=True)
        covariance = 0.999 * covariance + 0.001 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        within += (labels == label).mean() * covariance
    means = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    spread = (means - features.mean(axis=0)) * np.sqrt(np.bincount(labels)[:, None] / len(labels))
    values, vectors = np.linalg.eig(np.linalg.solve(within, spread.T @ spread))
    expected = vectors[:, np.argsort(-values.real)[:9]].real
    found = embed(after, data.train.images).astype(np.float64)
    for column, direction in zip(found.T, expected.T, strict=True):
        assert abs(np.corrcoef(column, features @ direction)[0, 1]) > 0.999


def test_it_retrieves_better_and_the_classifier_names_the_classes(data: Data, tmp_path: Path) -> None:
    before = model(data)
    after = Discriminant().run(before, data, seed=0, scratch=tmp_path)
    assert mean_ap(after, data) > mean_ap(before, data) + 0.2
    pixels = torch.from_numpy(data.queries.images[:]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (data.preprocess.mean, data.preprocess.std))
    with torch.no_grad():
        named = after.network((pixels - mean) / std).argmax(dim=1).numpy()
    assert (named == data.queries.labels).mean() > 0.6
    assert after.history[-1] == {"stage": "discriminant", "images": 1500, "dim": 9}


@pytest.mark.nightly
def test_shuffled_labels_gain_nothing(data: Data, tmp_path: Path) -> None:
    wrong = np.random.default_rng(0).permutation(data.train.labels)
    shuffled = replace(data, train=replace(data.train, labels=wrong))
    after = Discriminant().run(model(data), shuffled, seed=0, scratch=tmp_path)
    right = Discriminant().run(model(data), data, seed=0, scratch=tmp_path)
    assert mean_ap(after, data) < mean_ap(right, data) - 0.2


def test_the_network_that_enters_stays_as_it_is(data: Data, tmp_path: Path) -> None:
    before = model(data)
    weights = {key: value.clone() for key, value in before.network.state_dict().items()}
    Discriminant().run(before, data, seed=0, scratch=tmp_path)
    assert all(torch.equal(value, weights[key]) for key, value in before.network.state_dict().items())


def test_more_values_than_directions_are_refused_before_anything_runs(data: Data) -> None:
    with pytest.raises(
        BadInput, match=r"10 classes differ in 9 directions, the embedding has 12 values; set model\.dim=9"
    ):
        Discriminant().check(model(data, dim=12))
    plain = TRUNK.build(10)
    with pytest.raises(BadInput, match=r"set model\.architecture: projected"):
        Discriminant().check(replace(model(data), architecture=TRUNK, network=plain))
    with pytest.raises(BadInput, match="needs two classes"):
        Discriminant().check_data(Division(np.arange(5), np.arange(5), open_set=False))
