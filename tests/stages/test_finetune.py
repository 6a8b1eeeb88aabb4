"""What a network gave before teaches it while it trains on, is cut or is rounded; else the labels alone do."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures.alnet import ALNet
from compress.contracts import BadInput, Data, EmbeddingSpec, Model, Outputs
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.distillation.embedding import Embedding
from compress.distillation.logits import Logits
from compress.losses.cross_entropy import CrossEntropy
from compress.model.reference import embed
from compress.recipe.reader import parse_recipe
from compress.stages import _teaching
from compress.stages.finetune import Finetune
from compress.stages.prune import Prune
from compress.stages.qat import Qat
from compress.stages.train import Train
from tests._stages import with_options

SMALL = ALNet(stem_stride=2, stem_width=16, widths=(16,), strides=(2,), expansions=(1,), head_width=32)
OPTIONS: dict[str, Any] = {
    "epochs": 6,
    "batch_size": 20,
    "lr": 0.05,
    "schedule": "step",
    "loss": CrossEntropy(),
    "clip_norm": 5.0,
}
TAUGHT: dict[str, Any] = {**OPTIONS, "embedding": Embedding(weight=4.0), "hard_weight": 0.1}


@pytest.fixture(scope="module")
def data() -> Data:
    """198 digits to train on."""
    return load_data(Digits(test_share=0.95, validation_share=0.2), seed=0)


def fresh(data: Data) -> Model:
    torch.manual_seed(0)
    return Model(SMALL, SMALL.build(10), data.classes, data.preprocess, EmbeddingSpec(32))


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Model:
    stage = with_options(Train, epochs=80, batch_size=20, schedule="one_cycle", clip_norm=5.0, loss=CrossEntropy())
    return stage.run(fresh(data), data, seed=0, scratch=tmp_path_factory.mktemp("train"))


def apart(model: Model, other: Model, data: Data) -> float:
    """Squared distance of the embeddings of 200 images that never train, as a share of the second's squared length."""
    images = np.array(data.queries.images[np.arange(200)])
    own, right = embed(model, images), embed(other, images)
    return float(np.square(own - right).sum() / np.square(right).sum())


def run(stage: Any, model: Model, data: Data, scratch: Path) -> Model:
    scratch.mkdir()
    copied = replace(model, network=copy.deepcopy(model.network))
    result: Model = stage.run(copied, data, seed=1, scratch=scratch)
    return result


@pytest.mark.nightly
def test_taught_by_what_it_was_it_stays_near(data: Data, trained: Model, tmp_path: Path) -> None:
    before = embed(trained, data.queries.images[:20])
    kept = run(with_options(Finetune, **TAUGHT), trained, data, tmp_path / "kept")
    free = run(with_options(Finetune, **OPTIONS), trained, data, tmp_path / "free")
    assert apart(kept, trained, data) < 0.5 * apart(free, trained, data)
    assert [line["stage"] for line in kept.history[-6:]] == ["finetune"] * 6
    assert np.array_equal(embed(trained, data.queries.images[:20]), before)


def test_the_labels_alone_teach_as_train_does(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no teacher is asked for what nobody uses."""

    def made(*_: Any) -> None:
        raise AssertionError("a teacher")

    monkeypatch.setattr(_teaching.Teacher, "__init__", made)
    with pytest.raises(AssertionError, match="a teacher"):
        run(with_options(Finetune, **TAUGHT), fresh(data), data, tmp_path / "taught")
    on = run(with_options(Train, **OPTIONS), fresh(data), data, tmp_path / "train")
    assert apart(run(with_options(Finetune, **OPTIONS), fresh(data), data, tmp_path / "finetune"), on, data) == 0


@pytest.mark.nightly
def test_the_network_with_all_channels_teaches_the_pruned_one_in_every_step(
    data: Data, trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = []
    made = _teaching.Teacher.__init__

    def remembered(self: Any, model: Model, *arguments: Any) -> None:
        made(self, model, *arguments)
        teachers.append(sum(p.numel() for p in self.network.parameters()))

    monkeypatch.setattr(_teaching.Teacher, "__init__", remembered)
    pruning: dict[str, Any] = {"ratio": 0.4, "multiple_of": 1, "scope": "layer", "steps": 2}
    taught = run(Prune(**pruning, finetune=with_options(Finetune, **TAUGHT)), trained, data, tmp_path / "taught")
    assert teachers == [sum(p.numel() for p in trained.network.parameters())] * 2
    alone = run(Prune(**pruning, finetune=with_options(Finetune, **OPTIONS)), trained, data, tmp_path / "alone")
    assert taught.pruned == alone.pruned
    assert apart(taught, trained, data) < 0.7 * apart(alone, trained, data)


@pytest.mark.nightly
def test_the_float_network_teaches_the_rounded_one(data: Data, trained: Model, tmp_path: Path) -> None:
    taught = run(with_options(Qat, **TAUGHT), trained, data, tmp_path / "taught")
    alone = run(with_options(Qat, **OPTIONS), trained, data, tmp_path / "alone")
    assert taught.ranges.keys() == alone.ranges.keys() != {}
    assert apart(taught, trained, data) < 0.5 * apart(alone, trained, data)


@pytest.mark.nightly
def test_a_teacher_of_other_images_does_not_do(
    data: Data, trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = _teaching.Teacher.__call__

    def of_the_next_image(self: Any, images: torch.Tensor) -> Outputs:
        right = answer(self, images)
        return Outputs(right.embeddings.roll(1, 0), right.logits.roll(1, 0))

    kept = run(with_options(Finetune, **TAUGHT), trained, data, tmp_path / "kept")
    monkeypatch.setattr(_teaching.Teacher, "__call__", of_the_next_image)
    misled = run(with_options(Finetune, **TAUGHT), trained, data, tmp_path / "misled")
    assert apart(misled, trained, data) > 2 * apart(kept, trained, data)


def test_nothing_to_learn_from_is_refused() -> None:
    for nothing in ({}, {"logits": Logits(weight=0.0)}):
        with pytest.raises(
            BadInput, match="hard_weight: 0 leaves nothing to learn from; give logits, embedding, features or"
        ):
            with_options(Finetune, **OPTIONS, hard_weight=0.0, **nothing)
    document = {"name": "r", "data": {"dataset": "digits"}, "model": "alnet"}
    with pytest.raises(BadInput, match=r"compress\.0\.finetune\.embedding\.distance: 'l1' is wrong"):
        parse_recipe({**document, "train": {}, "compress": [{"finetune": {"embedding": {"distance": "l1"}}}]}, "r")
    with pytest.raises(BadInput, match="train"):
        parse_recipe({**document, "compress": [{"finetune": {}}]}, "r")
