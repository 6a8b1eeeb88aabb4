"""Training by distances: what is refused, what chooses the best weights, and what a resumed run ends with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures.alnet import ALNet
from architectures.gem import GeM
from compress.contracts import BadInput, Data, EmbeddingSpec, ImageSet, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.losses.triplet import Triplet
from compress.model.reference import embed
from compress.stages._augment import Augmentation
from compress.stages._fit import _Progress
from compress.stages._graph import TrainingGraph
from compress.stages.train import Train
from tests._stages import with_options
from validators.metrics import evaluate_retrieval

SMALL = GeM(trunk=ALNet(widths=(16, 16), strides=(2, 2), expansions=(1, 3), cbam=False, head_width=32), dim=16)
OPTIONS: dict[str, Any] = {"batch_size": 32, "per_class": 4, "lr": 0.1, "schedule": "constant", "loss": Triplet()}


@pytest.fixture(scope="module")
def data() -> Data:
    """300 digits to train on, 100 to choose."""
    whole = load_data(Digits(image_size=20), seed=0)

    def few(images: ImageSet, count: int) -> ImageSet:
        rows = np.arange(count) * len(images) // count
        return ImageSet(images.images[rows], images.labels[rows], tuple(images.ids[row] for row in rows))

    return replace(whole, train=few(whole.train, 300), validation=few(whole.validation, 100))


def fresh(data: Data, distance: Any = "cosine") -> Model:
    torch.manual_seed(0)
    network = SMALL.build(len(data.classes))
    return Model(SMALL, network, data.classes, data.preprocess, EmbeddingSpec(16, distance=distance))


def test_the_best_weights_rank_best_and_a_resumed_run_ends_with_the_same(data: Data, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = with_options(Train, epochs=4, **OPTIONS).run(fresh(data), data, seed=0, scratch=tmp_path / "whole")
    scores = [line["validation_mAP"] for line in whole.history]
    features, labels = embed(whole, data.validation.images), data.validation.labels
    kept = evaluate_retrieval(features, features, labels, labels, distance="cosine", exclude_self=True)["mAP"]
    assert kept == pytest.approx(max(scores), abs=1e-6)
    assert max(scores) > 0.25  # by chance 0.1
    assert all("validation_accuracy" not in line for line in whole.history)
    assert whole.network.pool.p.item() != 3  # type: ignore[union-attr,operator]
    with_options(Train, epochs=2, **OPTIONS).run(fresh(data), data, seed=0, scratch=tmp_path / "parts")
    resumed = with_options(Train, epochs=4, **OPTIONS).run(fresh(data), data, seed=0, scratch=tmp_path / "parts")
    assert resumed.history == whole.history
    pairs = zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_every_step_sees_so_many_of_each_class(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def spy(*arguments: Any) -> Any:
        from compress.data.batches import batches

        for images, labels in batches(*arguments):
            seen.append(labels)
            yield images, labels

    monkeypatch.setattr("compress.stages._fit.batches", spy)
    with_options(Train, epochs=1, **OPTIONS).run(fresh(data), data, seed=0, scratch=tmp_path)
    training = [labels.reshape(-1, 4) for labels in seen if len(labels) == 32]
    assert len(training) >= 9
    assert all((groups == groups[:, :1]).all() for groups in training)
    assert all(len(set(groups[:, 0])) == 8 for groups in training)


def test_what_does_not_fit_is_refused_before_training(data: Data) -> None:
    with_options(Train, **OPTIONS).check(fresh(data))
    with_options(Train, loss=CrossEntropy()).check(fresh(data, "l2"))
    with pytest.raises(BadInput, match=r"^loss: triplet trains .* by cosine, not by l2; set model.distance: cosine$"):
        with_options(Train, **OPTIONS).check(fresh(data, "l2"))
    with pytest.raises(BadInput, match=r"^per_class: 5 does not divide batch_size 32; change one$"):
        with_options(Train, **{**OPTIONS, "per_class": 5}).check(fresh(data))
    with pytest.raises(BadInput, match=r"^per_class: a batch of 32 would hold one class alone.*to 64 or more$"):
        with_options(Train, **{**OPTIONS, "per_class": 32}).check(fresh(data))


def test_an_epoch_that_teaches_nothing_is_said(data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two copies of a picture are nearest to each other; where a small margin is enough, no triplet loses anything."""
    rows = np.repeat(np.arange(16), 2)
    copies = ImageSet(data.train.images[rows], rows.astype(np.int64), tuple(map(str, range(32))))
    options = {"batch_size": 32, "per_class": 2, "schedule": "constant", "lr": 1e-6, "epochs": 1}
    for margin, silent in ((1e-3, False), (2.0, True)):
        (tmp_path / str(margin)).mkdir()
        stage = with_options(Train, **{**options, "loss": Triplet(margin=margin)})
        stage.run(fresh(data), replace(data, train=copies), seed=0, scratch=tmp_path / str(margin))
        assert ("the loss of epoch 1 is 0" in capsys.readouterr().err) != silent


def test_no_epoch_is_trained_where_no_score_would_be_a_number(data: Data, tmp_path: Path) -> None:
    alone = ImageSet(data.validation.images[np.arange(3)], np.arange(3), data.validation.ids[:3])
    lonely = replace(data, validation=alone)
    with pytest.raises(BadInput, match=r"loss: triplet .*no validation image has another one of its class to find"):
        with_options(Train, epochs=1, **OPTIONS).run(fresh(data), lonely, seed=0, scratch=tmp_path)
    # The control: accuracy needs no second image of a class.
    accuracy = with_options(Train, epochs=1, batch_size=32, lr=0.01, schedule="constant", loss=CrossEntropy())
    model = accuracy.run(fresh(data), lonely, seed=0, scratch=tmp_path)
    assert "validation_accuracy" in model.history[-1]


def test_the_later_of_tied_epochs_wins(data: Data) -> None:
    graph = TrainingGraph(fresh(data), Augmentation(), Triplet())
    progress = _Progress()
    kept = []
    for score in (0.5, 0.7, 0.7, 0.6):
        with torch.no_grad():
            graph.network.pool.p.add_(1)  # type: ignore[operator,union-attr]
        progress.finish_epoch({}, score, graph)
        kept.append(progress.best_weights["pool.p"].item())
    assert kept == [4, 5, 6, 6]
