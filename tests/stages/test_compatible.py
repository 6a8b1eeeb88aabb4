"""A network that was trained to search an older one's gallery finds more there than the older one's own queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures.alnet import ALNet
from architectures.projected import Projected
from compress.contracts import Architecture, BadInput, Data, Distance, EmbeddingSpec, ImageSet, Model
from compress.losses.cross_entropy import CrossEntropy
from compress.model.checkpoint import save_model
from compress.model.reference import embed
from compress.stages._compatible import Contrast, OldGallery, old_gallery
from compress.stages.train import Train
from tests._stages import few_digits, with_options
from validators.metrics import evaluate_retrieval
from validators.upgrade import widened

OLD = ALNet(stem_stride=2, widths=(16,), strides=(2,), expansions=(1,), head_width=32)
NEW = Projected(trunk=ALNet(stem_stride=2, widths=(16, 24), strides=(2, 1), expansions=(1, 3), head_width=64), dim=40)
TRAINING: dict[str, Any] = {"batch_size": 20, "schedule": "one_cycle", "clip_norm": 5.0, "loss": CrossEntropy()}


@pytest.fixture(scope="module")
def data() -> Data:
    return few_digits()


def fresh(data: Data, architecture: Architecture, distance: Distance = "cosine") -> Model:
    torch.manual_seed(0)
    network: Any = architecture.build(len(data.classes))
    spec = EmbeddingSpec(network.embedding_dim, distance=distance)
    return Model(architecture, network, data.classes, data.preprocess, spec)


@pytest.fixture(scope="module")
def old(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    folder = tmp_path_factory.mktemp("old")
    model = with_options(Train, epochs=3, lr=0.1, **TRAINING).run(fresh(data, OLD), data, seed=0, scratch=folder)
    save_model(model, folder / "old.safetensors")
    return model, folder / "old.safetensors"


def in_the_old_gallery(asking: Model, old: Model, data: Data) -> float:
    gallery = widened(embed(old, data.queries.images), asking.embedding.dim)
    queries, labels = embed(asking, data.queries.images), data.queries.labels
    scores = evaluate_retrieval(
        queries, gallery, labels, labels, distance="cosine", metrics=("mAP",), exclude_self=True
    )
    return scores["mAP"]


@pytest.mark.nightly
def test_new_queries_find_more_in_the_old_gallery_than_old_ones_unless_nothing_was_done_for_it(
    data: Data, old: tuple[Model, Path], tmp_path: Path
) -> None:
    own = in_the_old_gallery(old[0], old[0], data)
    found = {}
    for weight, epochs in ((1.0, 30), (0.0, 2)):
        options = {"compatible_with": str(old[1]), "compatible_weight": weight}
        stage = with_options(Train, epochs=epochs, lr=0.03, **options, **TRAINING)
        (tmp_path / str(weight)).mkdir()
        assert stage.check(fresh(data, NEW)).embedding.dim == 40
        new = stage.run(fresh(data, NEW), data, seed=0, scratch=tmp_path / str(weight))
        found[weight] = in_the_old_gallery(new, old[0], data)
    assert found[1.0] > own + 0.02, (own, found)
    assert found[0.0] < own - 0.02, (own, found)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_the_term_prefers_old_embeddings_of_the_right_class(
    data: Data, old: tuple[Model, Path], distance: Distance
) -> None:
    """By plain loops, over the same number of images of each class."""
    model = replace(old[0], embedding=EmbeddingSpec(32, distance=distance))
    rows = np.flatnonzero(data.train.labels != 3)[:60]
    some = ImageSet(data.train.images[rows], data.train.labels[rows], tuple(map(str, rows)))
    gallery = old_gallery(model, some, weight=1.0)
    features = embed(model, some.images).astype(np.float64)
    assert np.array_equal(gallery.features, features.astype(np.float32))
    assert np.array_equal(gallery.labels, some.labels)
    variance = np.mean([np.square(feature - features.mean(axis=0)).sum() for feature in features])
    assert gallery.variance == pytest.approx(variance, rel=1e-5)

    random = np.random.default_rng(0)
    given = random.standard_normal((7, 40)) * 0.3
    labels = random.choice(some.labels, 7)
    losses = []
    for embedding, label in zip(given[:, :32], labels, strict=True):
        own = embedding / np.linalg.norm(embedding) if distance == "cosine" else embedding
        likelihoods = np.exp([-np.square(own - feature).sum() / (2 * 0.2 * variance) for feature in features])
        right = [row for row in range(60) if some.labels[row] == label]
        losses.append(np.mean([-np.log(likelihoods[row] / likelihoods.sum()) for row in right]))
    term = Contrast(gallery)(torch.from_numpy(given).float(), torch.from_numpy(labels))
    assert float(term) == pytest.approx(np.mean(losses), rel=1e-4)


def test_values_beyond_the_old_ones_are_free() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((4, 3)).astype(np.float32)
    term = Contrast(OldGallery(features, np.arange(4), 3.0, False, 1.0))
    given = torch.from_numpy(random.standard_normal((5, 6))).float().requires_grad_()
    term(given, torch.tensor([0, 1, 2, 3, 0])).backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None
    assert (given.grad[:, :3] != 0).all() and (given.grad[:, 3:] == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (32, 32)}, r"was trained on images of size \(28, 28\), the data has \(32, 32\)"),
        ({"distance": "l2"}, "compares embeddings by cosine, this model by l2; set model.distance: cosine"),
        ({"dim": 31}, r"has embeddings of 32 values, this model of 31, .* projected, dim: 32, trunk: projected"),
    ],
)
def test_an_old_model_that_does_not_fit_is_refused(
    data: Data, old: tuple[Model, Path], changes: dict[str, Any], message: str
) -> None:
    model = fresh(data, replace(NEW, dim=changes.get("dim", 40)), changes.get("distance", "cosine"))
    model = replace(model, preprocess=replace(model.preprocess, size=changes.get("size", (28, 28))))
    stage = with_options(Train, epochs=1, compatible_with=str(old[1]), **TRAINING)
    with pytest.raises(BadInput, match=f"compatible_with: .*{message}"):
        stage.check(model)


def test_a_missing_old_model_and_a_gate_without_one_are_named(tmp_path: Path) -> None:
    stage = with_options(Train, compatible_with=str(tmp_path / "nothing"), **TRAINING)
    with pytest.raises(BadInput, match=r"compatible_with: no file or folder at .*nothing; run the old model's"):
        stage.old_model()
    (tmp_path / "empty").mkdir()
    stage = with_options(Train, compatible_with=str(tmp_path / "empty"), **TRAINING)
    with pytest.raises(BadInput, match=r"compatible_with: .*no finished run"):
        stage.inputs()
