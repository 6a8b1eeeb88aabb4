"""Photographs without labels are calibrated with and taught with, and never are those that test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures.alnet import ALNet
from compress.contracts import BadInput, Data, EmbeddingSpec, Model
from compress.data.calibration import calibration_images
from compress.data.load import describe, load_data
from compress.datasets.image_folder import ImageFolder
from compress.distillation.embedding import Embedding
from compress.losses.cross_entropy import CrossEntropy
from compress.model.checkpoint import save_model
from compress.model.identity import model_sha256
from compress.stages._augment import Augmentation
from compress.stages._mixing import Mixed
from compress.stages._teaching import TaughtGraph, Teaching
from compress.stages.distill import Distill
from compress.stages.train import Train
from exporters.tflite import TFLite
from tests._stages import with_options

SMALL = ALNet(stem_stride=2, widths=(16,), strides=(2,), expansions=(1,), head_width=32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, save_photos: Callable[..., list[Path]]) -> Path:
    """Three classes of 12, and 20 other photographs beside 3 copies of test photographs and a text."""
    folder = tmp_path_factory.mktemp("unlabelled")
    for label in range(3):
        save_photos(folder / "photos" / f"class {label}", label, 12)
    save_photos(folder / "more" / "deep", 7, 20)
    (folder / "more" / "notes.txt").write_text("no photograph", encoding="utf-8")
    (folder / "more" / ".hidden").write_text("", encoding="utf-8")
    tested = load_data(ImageFolder(root=str(folder / "photos"), image_size=32), seed=0).queries.ids[:3]
    for number, name in enumerate(tested):
        shutil.copy(folder / "photos" / name, folder / "more" / f"copy {number}.jpg")
    return folder


def loaded(root: Path, more: str | None = "more", **options: Any) -> Data:
    unlabelled = None if more is None else str(root / more)
    return load_data(ImageFolder(root=str(root / "photos"), image_size=32, unlabelled=unlabelled, **options), seed=0)


@pytest.fixture(scope="module")
def data(root: Path) -> Data:
    return loaded(root)


def test_photographs_are_found_and_copies_of_held_out_ones_left_out(root: Path, data: Data) -> None:
    assert data.unlabelled is not None
    assert data.unlabelled.ids == tuple(f"unlabelled/deep/{number:06d}.jpg" for number in range(20))
    assert set(data.unlabelled.labels) == {-1}
    reasons = {name: why for name, why in data.skipped.items() if name.startswith("unlabelled/")}
    assert [why for name, why in reasons.items() if "copy" in name] == ["a copy of a held-out image"] * 3
    assert set(reasons) == {f"unlabelled/copy {n}.jpg" for n in range(3)} | {"unlabelled/notes.txt"}
    without = loaded(root, None)
    assert without.unlabelled is None and without.fingerprint != data.fingerprint
    assert loaded(root, cache="none").fingerprint == data.fingerprint
    assert describe(data)["splits"]["unlabelled"] == 20 and "unlabelled" not in describe(without)["splits"]
    assert describe(data)["images"] == describe(without)["images"] + 20


def test_a_folder_without_photographs_is_one_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"data\.unlabelled=.*no such folder"):
        loaded(root, "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"data\.unlabelled=.*holds no photograph"):
        loaded(root, str(tmp_path / "empty"))


def test_half_of_the_calibration_images_have_no_labels(root: Path, data: Data) -> None:
    def drawn(count: int, data: Data) -> list[bool]:
        """Which of the calibration images are unlabelled ones."""
        exporter = TFLite(precision="w8a8", calibration_images=count)
        images = calibration_images(exporter, data.train, 0, data.unlabelled)
        assert images is not None and images.flags.c_contiguous
        unlabelled = {image.tobytes() for image in data.unlabelled.images[:]} if data.unlabelled else set()
        return [image.tobytes() in unlabelled for image in images]

    assert sum(drawn(10, data)) == 5 and len(drawn(10, data)) == 10
    assert sum(drawn(1000, data)) == 20 and len(drawn(1000, data)) == len(data.train) + 20
    assert not any(drawn(10, loaded(root, None)))


def student(data: Data, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    network: Any = SMALL.build(len(data.classes))
    return Model(SMALL, network, data.classes, data.preprocess, EmbeddingSpec(network.embedding_dim))


def test_a_teacher_teaches_with_them_and_training_on_labels_does_not(data: Data, root: Path, tmp_path: Path) -> None:
    save_model(student(data, 1), tmp_path / "teacher.safetensors")
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "lr": 0.05, "loss": CrossEntropy(), "mixup": 0.4}
    distill = with_options(
        Distill, teacher={"checkpoint": str(tmp_path / "teacher.safetensors")}, embedding=Embedding(), **options
    )
    train = with_options(Train, **options)
    without = replace(data, unlabelled=None)
    assert data.unlabelled is not None
    changed = replace(data, unlabelled=replace(data.unlabelled, images=255 - data.unlabelled.images[:]))

    def trained(stage: Any, data: Data) -> str:
        scratch = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        scratch.mkdir()
        return model_sha256(stage.run(student(data), data, seed=0, scratch=scratch))

    assert len({trained(distill, each) for each in (data, without, changed)}) == 3
    assert trained(distill, data) == trained(distill, data)
    assert len({trained(train, each) for each in (data, without, changed)}) == 1


def test_the_loss_on_labels_is_that_of_images_with_labels(data: Data) -> None:
    model = student(data)
    graph = TaughtGraph(model, Augmentation(), CrossEntropy(), Teaching(embedding=Embedding()), student(data, 1))
    features, scores = torch.randn(4, 32), torch.randn(4, 3)
    labels = torch.tensor([2, -1, 0, 1])

    def alone(rows: list[int], names: list[int]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(scores[rows], torch.tensor(names))

    def found(labels: torch.Tensor, mixed: Mixed | None = None) -> float:
        return float(graph._on_labels(torch.empty(0), features, scores, labels, mixed))

    assert found(labels) == pytest.approx(alone([0, 2, 3], [2, 0, 1]).item())
    assert found(torch.full((4,), -1)) == 0
    assert found(torch.tensor([2, 1, 0, 1])) == pytest.approx(alone([0, 1, 2, 3], [2, 1, 0, 1]).item())
    # Image 3 is mixed with image 1, which has no label; 0 with 2, and 2 with 0.
    mixed = Mixed(torch.tensor([2, 3, 0, 1]), 0.75)
    assert found(labels, mixed) == pytest.approx((0.75 * alone([0, 2], [2, 0]) + 0.25 * alone([0, 2], [0, 2])).item())
