"""A student follows its teacher and nothing else, survives a kill, and may be searched for among its teacher's."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from architectures.alnet import ALNet
from architectures.efficientnet_lite0 import EfficientNetLite0
from architectures.projected import Projected
from compress.contracts import Architecture, BadInput, Data, EmbeddingSpec, HeldOut, ImageSet, Model, Outputs
from compress.distillation.embedding import Embedding
from compress.distillation.logits import Logits
from compress.distillation.relational import Relational
from compress.losses.cross_entropy import CrossEntropy
from compress.model.checkpoint import last_checkpoint, load_model, save_model
from compress.model.identity import model_sha256, space_id
from compress.model.reference import embed
from compress.recipe.reader import load_recipe, parse_recipe
from compress.stages import _teaching
from compress.stages._schedules import learning_rate
from compress.stages.distill import Distill
from compress.stages.prune import Prune
from compress.stages.train import Train
from tests._command import compress_here
from tests._stages import few_digits, with_options
from tests.conftest import Finished
from validators.compatibility import compatibility, sample_of

LARGE = ALNet(stem_stride=2, widths=(16, 24), strides=(2, 1), expansions=(1, 3), head_width=48)
LITE = {"efficientnet_lite0": {"pretrained": True}}
SMALL = ALNet(stem_stride=2, widths=(16,), strides=(2,), expansions=(1,), head_width=32)


@pytest.fixture(scope="module")
def data() -> Data:
    return few_digits()


def fresh(data: Data, architecture: Architecture = SMALL) -> Model:
    torch.manual_seed(0)
    network: Any = architecture.build(len(data.classes))
    spec = EmbeddingSpec(network.embedding_dim)
    return Model(architecture, network, data.classes, data.preprocess, spec)


TRAINING: dict[str, Any] = {"batch_size": 20, "lr": 0.1, "schedule": "one_cycle", "clip_norm": 5.0}


def taught(data: Data, folder: Path, epochs: int) -> Path:
    stage = with_options(Train, epochs=epochs, loss=CrossEntropy(), **TRAINING)
    save_model(stage.run(fresh(data, LARGE), data, seed=0, scratch=folder), folder / "teacher.safetensors")
    return folder / "teacher.safetensors"


@pytest.fixture(scope="module")
def teacher(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(data, tmp_path_factory.mktemp("teacher"), 16)


@pytest.fixture(scope="module")
def beginner(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of one epoch, where what it teaches does not matter."""
    return taught(data, tmp_path_factory.mktemp("beginner"), 1)


def distilling(teacher: Path, **options: Any) -> Distill:
    chosen = {"epochs": 4, "loss": CrossEntropy(), **TRAINING, **options}
    return with_options(Distill, teacher={"checkpoint": str(teacher)}, **chosen)


def agreement(student: Model, teacher: Model, data: Data) -> float:
    """Spearman's rank correlation between their rankings of the gallery, the mean over queries."""
    features = [embed(model, data.queries.images).astype(np.float64) for model in (student, teacher)]
    distances = [np.linalg.norm(each[:, None] - each[None], axis=2) for each in features]
    return float(np.mean([spearmanr(own, right).statistic for own, right in zip(*distances, strict=True)]))


def across(gallery: Model, asking: Model, data: Data) -> float:
    """mAP of one model's queries among the other's embeddings, as the bundle's matrix has it."""
    held_out = HeldOut(data.queries, data.gallery, np.empty(0))
    models = {"gallery": gallery, "asking": asking}
    samples = {name: sample_of(partial(embed, model), held_out) for name, model in models.items()}
    return compatibility(samples, held_out, gallery.embedding)["gallery"]["asking"]


# ------------------------------------------------------------------------------------------------------ learning


@pytest.mark.nightly
def test_a_student_ranks_as_its_teacher_unless_the_outputs_are_those_of_other_images(
    data: Data, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = distilling(teacher, epochs=8, hard_weight=0.1, logits=Logits(), relational=Relational(weight=5))
    (tmp_path / "taught").mkdir()
    (tmp_path / "misled").mkdir()
    taught = stage.run(fresh(data), data, seed=0, scratch=tmp_path / "taught")

    answer = _teaching.Teacher.__call__

    def of_the_next_image(self: Any, images: torch.Tensor) -> Outputs:
        right = answer(self, images)
        return Outputs(right.embeddings.roll(1, 0), right.logits.roll(1, 0))

    monkeypatch.setattr(_teaching.Teacher, "__call__", of_the_next_image)
    misled = stage.run(fresh(data), data, seed=0, scratch=tmp_path / "misled")
    right = load_model(teacher)
    values = [agreement(student, right, data) for student in (fresh(data), taught, misled)]
    assert values[1] > max(values[0], values[2]) + 0.1, values


@pytest.mark.nightly
def test_a_shared_space_is_searched_across_models(data: Data, teacher: Path, tmp_path: Path) -> None:
    """One trained apart finds by chance what it finds there."""
    in_the_space = Projected(trunk=replace(LARGE, head_width=32), dim=48)
    stage = distilling(teacher, epochs=6, hard_weight=0.1, embedding=Embedding(), space="teacher")
    (tmp_path / "apart").mkdir()
    student = stage.run(fresh(data, in_the_space), data, seed=0, scratch=tmp_path)
    apart = with_options(Train, epochs=6, loss=CrossEntropy(), **TRAINING).run(
        fresh(data, in_the_space), data, seed=0, scratch=tmp_path / "apart"
    )
    right = load_model(teacher)
    own, found, by_chance = (across(right, model, data) for model in (right, student, apart))
    assert own > found > 1.5 * by_chance, (own, found, by_chance)

    assert space_id(student) == space_id(right) != space_id(apart)
    save_model(student, tmp_path / "student.safetensors")
    again = load_model(tmp_path / "student.safetensors")
    assert space_id(again) == space_id(right)
    # Training without the teacher leaves its space, and so does an embedding of another size.
    further = with_options(Train, epochs=1, loss=CrossEntropy(), lr=1e-3, batch_size=50)
    (tmp_path / "further").mkdir()
    assert space_id(further.run(again, data, seed=0, scratch=tmp_path / "further")) != space_id(right)
    assert Prune(ratio=0.3).check(student).space == student.space
    assert Prune(ratio=0.3, prune_embedding=True, multiple_of=1).check(student).space is None


def test_the_teacher_sees_the_students_images_in_its_own_normalisation(data: Data, beginner: Path) -> None:
    other = replace(data.preprocess, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    right = load_model(beginner)
    images = np.array(data.queries.images[:8])
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (other.mean, other.std))
    seen = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    expected = embed(right, images)
    assert _teaching.Teacher(right, other)(seen).embeddings.numpy() == pytest.approx(expected, rel=1e-3, abs=1e-3)
    unaware = _teaching.Teacher(right, data.preprocess)(seen).embeddings.numpy()
    assert unaware != pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_an_imagenet_network_teaches_students_of_other_classes_in_its_own_normalisation(
    data: Data, tmp_path: Path
) -> None:
    few = ImageSet(data.train.images[:40], data.train.labels[:40], data.train.ids[:40])
    grey = replace(data.preprocess, mean=(0.1,) * 3, std=(0.3,) * 3)
    small = replace(data, train=few, validation=few, preprocess=grey)
    stage = with_options(
        Distill,
        teacher={"architecture": LITE},
        embedding=Embedding(),
        relational=Relational(),
        loss=CrossEntropy(),
        epochs=1,
    )
    student = fresh(small)
    assert stage.check(student).space is None
    right = stage._teacher(student)
    assert (right.classes, right.embedding, right.preprocess.size) == ((), EmbeddingSpec(1280), (28, 28))
    images = torch.from_numpy(np.array(few.images[:4])).permute(0, 3, 1, 2).float()
    network = EfficientNetLite0(pretrained=True).build().eval()
    with torch.no_grad():
        expected, unaware = (network(shown).numpy() for shown in ((images - 127) / 128, (images / 255 - 0.1) / 0.3))
    found = _teaching.Teacher(right, grey)((images / 255 - 0.1) / 0.3).embeddings.numpy()
    assert found == pytest.approx(expected, abs=1e-3)
    assert found != pytest.approx(unaware, abs=1e-2)
    (line,) = stage.run(student, small, seed=0, scratch=tmp_path).history
    assert 0 < line["loss"] < 10


@pytest.mark.parametrize("architecture", ["alnet", {"projected": {"trunk": LITE, "dim": 8}}])
def test_an_untrained_teacher_is_refused(data: Data, architecture: Any) -> None:
    stage = with_options(Distill, teacher={"architecture": architecture}, embedding=Embedding(), loss=CrossEntropy())
    with pytest.raises(BadInput, match=r"teacher\.architecture: '(stem|projection)\..*would be random; set pretrained"):
        stage.check(fresh(data))


@pytest.mark.nightly
def test_killed_between_epochs_it_ends_with_the_same_weights(
    data: Data, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a projection, whose weights must survive, too, and whatever was drawn from the generator before."""
    stage = distilling(teacher, epochs=2, embedding=Embedding(), relational=Relational())
    before = load_model(teacher)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = stage.run(fresh(data), data, seed=1, scratch=tmp_path / "whole")
    saved = torch.load(tmp_path / "whole/state.pt", weights_only=True)["graph"]
    assert {name for name in saved if not name.startswith("network.")} == {
        "objectives.0.projection.weight",
        "objectives.0.projection.bias",
    }

    done = 0

    def killed_in_the_second_epoch(*arguments: Any, **keywords: Any) -> float:
        nonlocal done
        done += 1
        if done > 30:  # 20 steps an epoch
            raise KeyboardInterrupt
        return learning_rate(*arguments, **keywords)

    student = fresh(data)
    torch.manual_seed(99)
    monkeypatch.setattr("compress.stages._fit.learning_rate", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        stage.run(student, data, seed=1, scratch=tmp_path / "parts")
    monkeypatch.undo()
    resumed = stage.run(fresh(data), data, seed=1, scratch=tmp_path / "parts")
    assert model_sha256(whole) == model_sha256(resumed)
    assert whole.history == resumed.history
    assert [(line["stage"], line["epoch"]) for line in whole.history] == [("distill", 1), ("distill", 2)]
    assert model_sha256(load_model(teacher)) == model_sha256(before)


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of them a weight"),
        ({"logits": Logits(weight=0), "relational": Relational(weight=0)}, "give one of them a weight"),
        ({"logits": Logits(), "space": "teacher"}, "space: teacher needs the objective embedding"),
        ({"embedding": Embedding(weight=0), "logits": Logits(), "space": "teacher"}, "needs the objective embedding"),
        ({"logits": Logits(), "teacher": {}}, r"teacher\.checkpoint: missing"),
        ({"logits": Logits(), "teacher": {"checkpoint": "a", "architecture": "alnet"}}, "checkpoint: missing"),
        ({"logits": Logits(), "teacher": {"checkpoint": 3}}, r"teacher\.checkpoint: 3 must be a path"),
        ({"logits": Logits(), "teacher": {"architecture": LITE}}, "logits: a pretrained .* knows none of the data"),
        (
            {"embedding": Embedding(), "space": "teacher", "teacher": {"architecture": LITE}},
            r"space: teacher needs one teacher\.checkpoint",
        ),
        (
            {"embedding": Embedding(), "teacher": {"architecture": "efficientnet_lite1"}},
            r"teacher\.architecture: .* did you mean 'efficientnet_lite",
        ),
    ],
)
def test_options_that_teach_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        with_options(Distill, **{"teacher": {"checkpoint": "teacher.safetensors"}, "loss": CrossEntropy(), **options})


def test_a_teacher_that_does_not_fit_is_refused(data: Data, beginner: Path) -> None:
    student = fresh(data)
    shared: dict[str, Any] = {"embedding": Embedding(), "space": "teacher"}
    wide = fresh(data, Projected(trunk=SMALL, dim=48))
    cosine = replace(wide, embedding=replace(wide.embedding, distance="cosine"))
    large = replace(student, preprocess=replace(student.preprocess, size=(32, 32)))
    strangers = replace(student, classes=tuple("abcdefghij"))
    refused: list[tuple[Model, dict[str, Any], str]] = [
        (strangers, {"logits": Logits()}, "tells 10 classes apart"),
        (large, {"relational": Relational()}, r"images of size \(28, 28\), the data has \(32, 32\)"),
        (student, shared, "architecture: projected, dim: 48, trunk: alnet"),
        (cosine, shared, "set model.distance: l2"),
        (wide, {**shared, "embedding": Embedding(distance="cosine")}, "set it to l2"),
    ]
    for model, options, message in refused:
        with pytest.raises(BadInput, match=message):
            distilling(beginner, **options).check(model)
    # Each of these is fine without what it was refused for.
    assert distilling(beginner, relational=Relational()).check(strangers).space is None
    assert distilling(beginner, embedding=Embedding()).check(student).space is None
    assert distilling(beginner, **shared).check(wide).space == space_id(load_model(beginner))


def test_a_teacher_that_cannot_be_read_is_refused(data: Data, beginner: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(beginner.read_bytes()[:2000])
    for path, message in [
        (tmp_path / "nowhere", "no file or folder at .*nowhere"),
        (tmp_path, "no finished run"),
        (damaged, "not a readable safetensors file"),
    ]:
        with pytest.raises(BadInput, match=rf"teacher\.checkpoint: .*{message}"):
            distilling(path, logits=Logits()).check(fresh(data))


def test_a_run_ends_with_its_last_step(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("train", "2-prune", "10-distill"):
        (tmp_path / f"checkpoints/{name}.safetensors").touch()
    with pytest.raises(BadInput, match="no finished run"):
        last_checkpoint(tmp_path)
    (tmp_path / "bundle.json").touch()
    assert last_checkpoint(tmp_path).stem == "10-distill"


def test_distillation_alone_trains() -> None:
    document = {
        "name": "student",
        "data": {"dataset": "digits"},
        "model": {"architecture": "alnet"},
        "compress": [{"distill": {"teacher": {"checkpoint": "t"}, "logits": {"temperature": 2.0}}}],
    }
    recipe = parse_recipe(document, "student.yaml")
    assert recipe.steps == ("data", "1-distill", "export", "validate")
    with pytest.raises(BadInput, match="train: missing"):
        parse_recipe({**document, "compress": [{"prune": {"ratio": 0.5}}]}, "student.yaml")


# ------------------------------------------------------------------------------------------------------ whole runs


def recipe_of(finished: Finished, folder: Path, **options: Any) -> Path:
    """A student of the shared run, in its space, exported as TorchScript."""
    document = {
        **load_recipe(finished.recipe).resolved,
        "name": "student",
        "train": None,
        "compress": [{"distill": {"epochs": 3, "batch_size": 16, "lr": 0.05, "schedule": "one_cycle", **options}}],
        "export": [{"torchscript": {}}],
    }
    path = folder / "student.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.nightly
def test_the_bundle_shows_a_server_with_the_teachers_gallery(finished: Finished, tmp_path: Path) -> None:
    taught = {"teacher": {"checkpoint": str(finished.folder)}, "embedding": {"weight": 10.0}, "space": "teacher"}
    recipe = recipe_of(finished, tmp_path, **taught)
    done = compress_here("run", recipe, "--out", tmp_path / "student")
    assert done.code in (0, 1), done.stderr  # a gate may fail after so short a training
    bundle = json.loads((tmp_path / "student/bundle.json").read_text(encoding="utf-8"))
    teachers = json.loads((finished.folder / "bundle.json").read_text(encoding="utf-8"))
    assert bundle["embedding"]["space_id"] == teachers["embedding"]["space_id"]
    artifact = bundle["artifacts"][0]["path"]
    matrix = bundle["compatibility"]
    assert list(matrix) == list(matrix["teacher"]) == ["pytorch", artifact, "teacher"]
    assert matrix["teacher"]["teacher"] == pytest.approx(teachers["compatibility"]["pytorch"]["pytorch"])
    assert matrix["teacher"][artifact] == pytest.approx(matrix["teacher"]["pytorch"], abs=0.01)
    metrics = (tmp_path / "student/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in metrics]
    assert [line["epoch"] for line in lines if line["stage"] == "distill"] == [1, 2, 3]


@pytest.mark.nightly
def test_another_teacher_in_the_same_place_is_learnt_from_anew(finished: Finished, tmp_path: Path) -> None:
    place = tmp_path / "teacher.safetensors"
    recipe = recipe_of(finished, tmp_path, teacher={"checkpoint": str(place)}, logits={}, epochs=1)
    arguments = ("run", recipe, "--out", tmp_path / "student", "--until", "1-distill")
    first = load_model(last_checkpoint(finished.folder))
    save_model(first, place)
    said = [compress_here(*arguments).stderr for _ in range(2)]
    assert "distill: epoch 1/1" in said[0]
    assert "distill: epoch" not in said[1]
    with torch.no_grad():
        first.network.classifier.bias += 1.0  # type: ignore[union-attr,operator]
    save_model(first, place)
    assert "distill: epoch 1/1" in compress_here(*arguments).stderr


def test_a_dry_run_finds_a_teacher_that_is_not_there(finished: Finished, tmp_path: Path) -> None:
    recipe = recipe_of(finished, tmp_path, teacher={"checkpoint": str(tmp_path / "nowhere")}, logits={})
    done = compress_here("run", recipe, "--dry-run", "--out", tmp_path / "student")
    assert done.code == 2
    assert "1-distill: teacher.checkpoint: no file or folder at" in done.complaint
    assert not (tmp_path / "student").exists()
