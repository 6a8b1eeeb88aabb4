"""Several teachers as one, reduced in closed form, and what they give for a fixed number of views of each image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from architectures.alnet import ALNet
from architectures.projected import Projected
from compress.contracts import BadInput, Data, EmbeddingSpec, ImageSet, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.distillation.embedding import Embedding
from compress.distillation.features import Features
from compress.distillation.logits import Logits
from compress.losses.cross_entropy import CrossEntropy
from compress.model.checkpoint import save_model
from compress.stages import _lessons
from compress.stages._graph import normalised, per_channel
from compress.stages._joined_teachers import JoinedTeachers, fitted_reduction
from compress.stages._lessons import Lesson
from compress.stages._teacher import Teacher
from compress.stages.distill import Distill
from tests._stages import with_options

SMALL = ALNet(stem_stride=2, widths=(16,), strides=(2,), expansions=(1,), cbam=False, head_width=24)
GREY = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def data() -> Data:
    """60 digits of all classes to train on."""
    whole = load_data(Digits(), seed=0)
    rows = np.arange(60) * len(whole.train) // 60
    few = ImageSet(whole.train.images[rows], whole.train.labels[rows], tuple(whole.train.ids[row] for row in rows))
    return replace(whole, train=few, validation=few)


def made(data: Data, seed: int, width: int = 24, **preprocess: Any) -> Model:
    torch.manual_seed(seed)
    architecture = replace(SMALL, head_width=width)
    network: Any = architecture.build(len(data.classes)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    spec = EmbeddingSpec(network.embedding_dim)
    return Model(architecture, network, data.classes, replace(data.preprocess, **preprocess), spec)


@pytest.fixture(scope="module")
def files(data: Data, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two teachers, the second for images of 40 px with its own normalisation."""
    folder = tmp_path_factory.mktemp("teachers")
    save_model(made(data, 1), folder / "a.safetensors")
    save_model(made(data, 2, 32, mean=GREY[0], std=GREY[1], size=(40, 40)), folder / "b.safetensors")
    return [str(folder / "a.safetensors"), str(folder / "b.safetensors")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def distilling(files: list[str], **options: Any) -> Distill:
    given = {
        "teacher": [{"checkpoint": files[0]}, {"checkpoint": files[1], "image_size": 40}],
        "embedding": Embedding(distance="cosine"),
        "loss": CrossEntropy(),
        "epochs": 3,
        "batch_size": 20,
        "lr": 0.01,
        "clip_norm": 1.0,
        "horizontal_flip": True,
        "min_scale": 0.5,
    }
    return with_options(Distill, **{**given, **options})


def lesson_of(stage: Distill, student: Model, data: Data) -> Lesson:
    found = stage._prepared(student, data, 7)
    assert isinstance(found, Lesson)
    return found


def test_each_teacher_sees_the_image_at_its_size_in_its_normalisation(data: Data, files: list[str]) -> None:
    student = made(data, 0)
    teacher = distilling(files)._teacher(student)
    assert isinstance(teacher.network, JoinedTeachers)
    pixels = torch.from_numpy(np.array(data.train.images[:8])).permute(0, 3, 1, 2).float() / 255
    own = (pixels - torch.tensor(student.preprocess.mean).view(3, 1, 1)) / torch.tensor(student.preprocess.std).view(
        3, 1, 1
    )
    large = F.interpolate(pixels, (40, 40), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in GREY)
    one, other = made(data, 1).network, made(data, 2, 32).network
    with torch.no_grad():
        parts = [one.embed(own), other.embed((large - mean) / std)]
        expected = torch.cat([part / part.norm(dim=1, keepdim=True) for part in parts], dim=1) / 2**0.5
        found = Teacher(teacher, student.preprocess)(own).embeddings
        unaware = torch.cat([F.normalize(one.embed(own)), F.normalize(other.embed(own))], dim=1) / 2**0.5
    assert found.shape == (8, 56)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found != pytest.approx(unaware, abs=1e-3)


def test_principal_components_are_those_of_the_covariance() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 6)) @ random.normal(size=(6, 6))
    labels = np.arange(40) % 4
    center, reduction = fitted_reduction("pca", 3, features, labels)
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    assert np.cov(((features - center) @ reduction).T) == pytest.approx(np.diag(values[:3]), abs=1e-9)
    assert reduction.T @ reduction == pytest.approx(np.eye(3))


def test_discriminant_directions_tell_classes_apart_that_principal_components_do_not() -> None:
    """The classes differ in a direction of little variance."""
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    features = random.normal(size=(200, 5)) * [10, 8, 6, 4, 1]
    features[:, 4] += 4 * labels
    for method, telling in (("discriminant", True), ("pca", False)):
        center, reduction = fitted_reduction(method, 1, features, labels)
        value = ((features - center) @ reduction)[:, 0]
        gap = abs(value[labels == 0].mean() - value[labels == 1].mean()) / value[labels == 0].std()
        assert (gap > 2) == telling, (method, gap)
    with pytest.raises(BadInput, match=r"reduce\.discriminant: .* differ in 1 directions .* set it to 1 or less"):
        fitted_reduction("discriminant", 2, features, labels)


@pytest.mark.parametrize("reduce", [None, {"discriminant": 5}, {"pca": 8}])
def test_a_lesson_is_what_the_teacher_says_of_the_views_shown(
    data: Data, files: list[str], reduce: dict[str, int] | None
) -> None:
    student = made(data, 0)
    lesson = lesson_of(distilling(files, views=3, reduce=reduce), student, data)
    live = distilling(files, reduce=reduce)._prepared(student, data, 7)
    ask = Teacher(live if isinstance(live, Model) else live(), student.preprocess)  # type: ignore[operator]
    rows = torch.tensor([5, 31, 2, 44])
    images = torch.from_numpy(np.array(data.train.images[rows.numpy()]))
    mean, std = per_channel(student.preprocess.mean), per_channel(student.preprocess.std)
    views = [lesson.views(images, rows, view, mean, std) for view in range(3)]
    for view, shown in enumerate(views):
        expected = ask(shown).embeddings
        for epoch in (view, view + 3):
            found = lesson.outputs(rows, epoch, torch.device("cpu")).embeddings
            assert found == pytest.approx(expected, abs=1e-4)
        assert found != pytest.approx(ask(views[view - 1]).embeddings, abs=1e-3)
        assert found != pytest.approx(expected.roll(1, 0), abs=1e-3)
    assert not torch.equal(views[0], normalised(images, mean, std))
    # A view does not depend on the batch; only mirroring is drawn anew.
    alone = lesson.views(images[2:3], rows[2:3], 1, mean, std)
    assert torch.equal(alone, views[1][2:3])
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        shown = lesson.shown(images, rows, 4, generator, mean, std)
        same = [torch.equal(image, view) for image, view in zip(shown, views[1], strict=True)]
        turned = [torch.equal(image, view.flip(2)) for image, view in zip(shown, views[1], strict=True)]
        assert all(a != b for a, b in zip(same, turned, strict=True))


def test_outputs_are_computed_once_and_anew_for_another_teacher(
    data: Data, files: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = 0
    answer = Teacher.__call__

    def counted(self: Teacher, images: torch.Tensor) -> Any:
        nonlocal calls
        calls += len(images)
        return answer(self, images)

    monkeypatch.setattr(_lessons.Teacher, "__call__", counted)
    student = made(data, 0)
    first = lesson_of(distilling(files, views=2, reduce={"pca": 8}), student, data)
    assert calls == 3 * 60  # the unchanged images, to fit the reduction, and two views
    assert len(list(cache.glob("teacher-*.npz"))) == 3
    again = lesson_of(distilling(files, views=2, reduce={"pca": 8}), student, data)
    assert calls == 3 * 60
    assert np.array_equal(first.embeddings, again.embeddings)
    # Another reduction and one view more need one view more.
    lesson_of(distilling(files, views=3, reduce={"discriminant": 3}), student, data)
    assert calls == 4 * 60
    lesson_of(distilling(files, views=2, min_scale=0.4), student, data)
    assert calls == 6 * 60
    save_model(made(data, 3), tmp_path / "other.safetensors")
    lesson_of(distilling([str(tmp_path / "other.safetensors"), files[1]], views=1), student, data)
    assert calls == 7 * 60
    for file in cache.glob("teacher-*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    damaged = lesson_of(distilling(files, views=2, reduce={"pca": 8}), student, data)
    assert np.array_equal(first.embeddings, damaged.embeddings)


def test_a_cache_that_cannot_be_written_costs_time_alone(
    data: Data, files: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student, stage = made(data, 0), distilling(files, views=1)
    cache.write_bytes(b"a file, not a folder")
    found = lesson_of(stage, student, data)
    assert "its outputs are not kept" in "".join(capsys.readouterr())
    cache.unlink()
    assert np.array_equal(found.embeddings, lesson_of(stage, student, data).embeddings)
    assert list(cache.glob("teacher-*.npz"))


@pytest.mark.parametrize("method", ["discriminant", "pca"])
def test_unlabelled_images_get_a_lesson_and_do_not_decide_the_reduction(
    data: Data, files: list[str], tmp_path: Path, method: str
) -> None:
    labels = np.full(10, -1)
    unlabelled = ImageSet(255 - np.array(data.train.images[:10]), labels, tuple(f"u{n}" for n in range(10)))
    student = made(data, 0)
    stage = distilling(files, views=1, reduce={method: 4}, min_scale=1.0, horizontal_flip=False, epochs=1)
    without = lesson_of(stage, student, data)
    taught = replace(data, unlabelled=unlabelled)
    found = lesson_of(stage, student, taught)
    assert found.embeddings.shape == (1, 70, 4)
    # No view changes an image here, so that the lesson of labelled images shows the reduction.
    assert found.embeddings[:, :60] == pytest.approx(without.embeddings, abs=1e-5)
    assert found.features[:, 60:] != pytest.approx(without.features[:, :10], abs=1e-2)
    (line,) = stage.run(student, taught, seed=7, scratch=tmp_path).history
    assert np.isfinite(line["loss"])


def test_training_asks_no_teacher_and_follows_the_lesson(
    data: Data, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lesson about other images leads elsewhere."""
    student = made(data, 0)
    stage = distilling(files, views=2, reduce={"discriminant": 5}, hard_weight=0.0, epochs=15, min_scale=0.9)
    assert stage.check(student).space is None
    lesson = lesson_of(stage, student, data)

    def never(self: Teacher, images: torch.Tensor) -> Any:
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr(_lessons.Teacher, "__call__", never)
    losses = []
    for name, taught in (("right", lesson), ("wrong", replace(lesson, embeddings=np.roll(lesson.embeddings, 1, 1)))):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(Distill, "_prepared", lambda *_, taught=taught: taught)
        losses.append([line["loss"] for line in stage.run(student, data, seed=7, scratch=tmp_path / name).history])
    right, wrong = losses
    assert right[-1] < right[0]
    assert right[-1] < wrong[-1] - 0.02, losses


def test_the_last_layers_input_learns_the_teachers_features(data: Data, files: list[str], tmp_path: Path) -> None:
    """Through a map that is discarded; the embedding behind that layer is not touched by this objective."""
    torch.manual_seed(0)
    architecture = Projected(trunk=SMALL, dim=3)
    network: Any = architecture.build(len(data.classes))
    student = Model(architecture, network, data.classes, data.preprocess, EmbeddingSpec(3))
    options: dict[str, Any] = {"features": Features(), "embedding": None, "hard_weight": 0.0, "weight_decay": 0.0}
    for name, views in (("live", None), ("cached", 2)):
        (tmp_path / name).mkdir()
        stage = distilling(files, **options, epochs=8, lr=0.1, reduce={"pca": 4}, views=views)
        assert stage.check(student).space is None
        taught = stage.run(student, data, seed=7, scratch=tmp_path / name)
        losses = [line["loss"] for line in taught.history]
        assert losses[-1] < 0.7 * losses[0], (name, losses)
        saved = torch.load(tmp_path / name / "state.pt", weights_only=True)["graph"]
        extra = {key: list(t.shape) for key, t in saved.items() if not key.startswith("network.")}
        assert extra == {"objectives.0.projection.weight": [56, 24], "objectives.0.projection.bias": [56]}
        layer = taught.network.linear_end()
        assert layer is not None
        assert not layer._forward_pre_hooks
        assert torch.equal(layer.weight, network.projection.weight)
    with pytest.raises(BadInput, match=r"features: alnet does not end in a linear layer; set model\.arch"):
        distilling(files, **options).check(made(data, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": []}, "teacher: the list is empty"),
        ({"teacher": [{"image_size": 40}]}, r"teacher\.0\.checkpoint: missing"),
        ({"teacher": [{"checkpoint": "a", "image_size": 0}]}, r"teacher\.0\.image_size: 0 must be"),
        ({"logits": Logits()}, "logits: a list, image_size or reduce joins"),
        ({"space": "teacher"}, r"space: teacher needs one teacher\.checkpoint"),
        ({"reduce": {"pca": 3, "discriminant": 3}}, "reduce: give one of"),
        ({"reduce": {"pca": 0}}, r"reduce\.pca: 0 is wrong"),
        ({"reduce": {"ica": 3}}, "ica"),
        ({"views": 2, "mixup": 0.2}, "views: mixup and cutmix mix each batch anew"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(files: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        distilling(files, **options)


def test_teachers_that_do_not_fit_the_data_are_refused(data: Data, files: list[str]) -> None:
    student = made(data, 0)
    pair = [{"checkpoint": files[0]}, {"checkpoint": files[1]}]
    for options, message in [
        ({"teacher": pair}, r"teacher\.1\.checkpoint: was trained on images of size \(40, 40\)"),
        (
            {"reduce": {"discriminant": 10}},
            r"reduce\.discriminant: 10 classes differ in 9 directions, not in 10",
        ),
        ({"reduce": {"pca": 57}}, r"reduce\.pca: the features vary in 56 directions, not in 57"),
    ]:
        with pytest.raises(BadInput, match=message):
            distilling(files, **options).check(student)
    assert distilling(files).check(student).space is None
