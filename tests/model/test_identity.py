"""Names of models and of embedding spaces change when they must, and only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from architectures.alnet import ALNet
from architectures.efficientnet_lite0 import EfficientNetLite0
from architectures.gem import GeM
from compress.contracts import EmbeddingSpec, Model, Preprocess
from compress.model.identity import model_sha256, space_id


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    network: Any = ALNet(widths=(16, 24), strides=(2, 1), expansions=(1, 3), head_width=32).build(3)
    return Model(
        architecture=ALNet(widths=(16, 24), strides=(2, 1), expansions=(1, 3), head_width=32),
        network=network,
        classes=("a", "b", "c"),
        preprocess=Preprocess((32, 32)),
        embedding=EmbeddingSpec(32),
    )


def changed(model: Model, name: str) -> Model:
    with torch.no_grad():
        model.network.state_dict()[name].view(-1)[0] += 1e-3
    return model


def test_both_stay_for_the_same_model(model: Model) -> None:
    assert (model_sha256(model), space_id(model)) == (model_sha256(replace(model)), space_id(replace(model)))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: changed(m, "head.0.0.weight"),
        lambda m: changed(m, "head.0.1.running_mean"),
        lambda m: replace(m, preprocess=replace(m.preprocess, crop="center")),
        lambda m: replace(m, preprocess=replace(m.preprocess, mean=(0.5, 0.5, 0.5))),
        lambda m: replace(m, embedding=EmbeddingSpec(32, distance="cosine")),
    ],
)
def test_what_moves_embeddings_names_another_space(model: Model, change: Callable[[Model], Model]) -> None:
    before = space_id(model)
    assert space_id(change(model)) != before


def test_another_classifier_keeps_the_space_but_is_another_model(model: Model) -> None:
    space, name = space_id(model), model_sha256(model)
    classifier = next(key for key in model.network.state_dict() if key.startswith("classifier."))
    other = replace(changed(model, classifier), classes=("x", "y", "z"))
    assert space_id(other) == space
    assert model_sha256(other) != name


def test_the_space_does_not_depend_on_where_the_weights_came_from(model: Model) -> None:
    fresh = replace(model, architecture=EfficientNetLite0())
    taken = replace(model, architecture=EfficientNetLite0(pretrained=True))
    assert space_id(fresh) == space_id(taken) != space_id(model)
    assert model_sha256(fresh) != model_sha256(taken)
    inside = replace(model, architecture=GeM(trunk=EfficientNetLite0(pretrained=True)))
    assert space_id(inside) == space_id(replace(model, architecture=GeM(trunk=EfficientNetLite0())))
