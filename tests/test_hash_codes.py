"""Hash codes from training to phone: a short run on real digits, every format, verify, search, and what must fail."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.commands.search import query
from compress.commands.verify import verify
from compress.contracts import BadInput, Data, ImageSet, Model
from compress.data.load import load_data
from compress.gallery.store import GALLERY, read_gallery
from compress.model.checkpoint import load_model
from compress.model.reference import embed
from compress.model.start import initial_model
from compress.pipeline import run
from compress.recipe.reader import Recipe, parse_recipe
from validators.metrics import binarize, evaluate_retrieval

TRUNK = {"alnet": {"widths": [16, 16, 24], "strides": [2, 2, 1], "expansions": [1, 3, 3], "head_width": 64}}
BITS = 16
METRICS = ["mAP", "mAP@100", "mAP@100/best", "mAP@100/worst", "mAP@100/hits"]


EXPORT: list[Any] = ["onnx", "tflite"]


def recipe(root: Path, export: list[Any] = EXPORT, **model: Any) -> Recipe:
    return parse_recipe(
        {
            "name": "codes",
            "data": {"dataset": "image_folder", "root": str(root), "image_size": 32},
            "model": {"architecture": "deep_hash", "trunk": TRUNK, "bits": BITS, **model},
            "train": {"epochs": 6, "batch_size": 16, "lr": 0.2, "schedule": "one_cycle", "clip_norm": 1},
            "export": export,
            "validate": {"retrieval": {"metrics": METRICS}},
        },
        "codes",
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, save_photos: Callable[..., list[Path]]) -> Path:
    """300 tinted digits in ten classes."""
    root = tmp_path_factory.mktemp("photos")
    for label in range(10):
        save_photos(root / f"digit {label}", label, 30)
    return root


@pytest.fixture(scope="module")
def bundle(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    run(recipe(photos), folder)
    return folder


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / "bundle.json").read_text(encoding="utf-8")))


# ------------------------------------------------------------------------------------------------------- training


def train(wanted: Recipe, data: Data, scratch: Path) -> Model:
    model = initial_model(wanted, data.classes, data.preprocess)
    ((_, stage),) = wanted.stages
    scratch.mkdir()
    return stage.run(stage.check(model), data, seed=0, scratch=scratch)


def score(model: Model, images: ImageSet) -> float:
    codes = embed(model, images.images)
    found = evaluate_retrieval(
        codes, codes, images.labels, images.labels, distance="hamming", metrics=("mAP",), exclude_self=True
    )
    return found["mAP"]


@pytest.mark.nightly
@pytest.mark.parametrize(("classifier", "loss"), [("linear", "cross_entropy"), ("orthogonal", "ortho_hash")])
def test_both_losses_learn_codes_and_wrong_labels_do_not(classifier: str, loss: str, tmp_path: Path) -> None:
    """On grey digits: the photos' tints tell classes apart for a network that has learnt nothing."""
    wanted = recipe(tmp_path, classifier=classifier)
    ((_, stage),) = wanted.stages
    digits = {"dataset": "digits", "test_share": 0.9, "validation_share": 0.2}
    training = {**stage.options(), "loss": loss, "epochs": 12}
    objective = parse_recipe({**wanted.resolved, "data": digits, "train": training}, "codes")
    data = load_data(objective.data, 0)
    rows = np.arange(0, len(data.queries), 9)
    queries = ImageSet(data.queries.images[rows], data.queries.labels[rows], tuple(data.queries.ids[i] for i in rows))
    assert (len(data.train), len(queries)) == (400, 500)
    right = train(objective, data, tmp_path / "right")
    labels = np.random.default_rng(0).permutation(data.train.labels)
    wrong = train(objective, replace(data, train=replace(data.train, labels=labels)), tmp_path / "wrong")
    assert right.embedding.kind == "binary" and right.embedding.distance == "hamming"
    assert score(right, queries) > 0.5
    assert score(wrong, queries) < 0.3


def test_what_does_not_fit_is_refused_before_anything_runs(photos: Path) -> None:
    wanted = recipe(photos)
    with pytest.raises(BadInput, match=r"model\.distance: 'l2' must be one of hamming for deep_hash"):
        recipe(photos, distance="l2")
    with pytest.raises(BadInput, match=r"model\.distance: 'hamming' must be one of l2, cosine for alnet"):
        parse_recipe({**wanted.resolved, "model": {"architecture": "alnet", "distance": "hamming"}}, "codes")
    train_options = {**wanted.resolved["train"], "loss": "ortho_hash"}
    ((_, stage),) = parse_recipe({**wanted.resolved, "train": train_options}, "codes").stages
    data = load_data(wanted.data, 0)
    with pytest.raises(BadInput, match="ortho_hash needs logits that are cosines"):
        stage.check(initial_model(wanted, data.classes, data.preprocess))


def test_the_resolved_recipe_reads_as_itself(photos: Path) -> None:
    wanted = recipe(photos)
    assert wanted.resolved["model"]["distance"] == "hamming"
    assert parse_recipe(wanted.resolved, "codes").resolved == wanted.resolved


# -------------------------------------------------------------------------------------------------------- bundle


def test_every_format_gives_the_codes_of_pytorch(manifest: dict[str, Any]) -> None:
    assert manifest["embedding"] == {**manifest["embedding"], "dim": BITS, "kind": "binary", "distance": "hamming"}
    assert [artifact["format"] for artifact in manifest["artifacts"]] == ["onnx", "tflite"]
    require_codes_of_pytorch(manifest)


@pytest.mark.nightly
def test_so_do_core_ml_and_torchscript(photos: Path, tmp_path: Path) -> None:
    run(recipe(photos, ["torchscript", "torchscript_lite", {"coreml": {"precision": "fp16"}}]), tmp_path)
    require_codes_of_pytorch(json.loads((tmp_path / "bundle.json").read_text(encoding="utf-8")))


def require_codes_of_pytorch(manifest: dict[str, Any]) -> None:
    for artifact in manifest["artifacts"]:
        parity, gates = artifact["parity"], {gate["name"]: gate for gate in artifact["gates"]}
        assert artifact["evidence"] in ("native", "reference")
        assert parity["bit_flip_rate"] <= (0.001 if artifact["precision"] == "fp16" else 0)
        assert gates["bit_flip_rate"] == {**gates["bit_flip_rate"], "limit": 0.001, "passed": True}
        margins = parity["margins"]
        assert sum(margins["bits"]) == (60 + 60) * BITS  # the queries, and all of them as golden images
        assert sum(margins["flips"]) == round(parity["bit_flip_rate"] * (60 + 60) * BITS)
    assert {control["caught"] for control in manifest["controls"]} == {True}


def test_retrieval_has_the_range_that_ties_leave(manifest: dict[str, Any]) -> None:
    for scores in (manifest["source"], *(artifact["retrieval"] for artifact in manifest["artifacts"])):
        assert 0.3 < scores["mAP@100/worst"] < scores["mAP@100"] < scores["mAP@100/best"] <= 1
        assert scores["mAP@100"] == pytest.approx(scores["mAP"])  # 59 images are fewer than 100


def test_the_reloaded_network_gives_the_golden_codes_and_the_gallerys(bundle: Path) -> None:
    golden = json.loads((bundle / "golden/golden.json").read_text(encoding="utf-8"))
    pixels = np.fromfile(bundle / "golden/images.u8", np.uint8).reshape(golden["tensors"]["shape"])
    activations = embed(load_model(bundle / "checkpoints/train.safetensors"), pixels)
    assert [entry["code"] for entry in golden["images"]] == [code.tobytes().hex() for code in binarize(activations)]
    assert {len(entry["code"]) for entry in golden["images"]} == {BITS // 4}
    with closing(sqlite3.connect(bundle / GALLERY)) as database:
        assert database.execute("SELECT DISTINCT length(feature) FROM images").fetchall() == [(BITS // 8,)]
    assert read_gallery(bundle / GALLERY).features.shape == (60, BITS)


def test_a_gallery_image_finds_itself_at_no_distance(bundle: Path, photos: Path) -> None:
    name = read_gallery(bundle / GALLERY).names[7]
    for artifact in ("codes.fp32.onnx", "codes.fp32.tflite"):
        answer = query(bundle, photos / name, top=60, artifact=artifact)
        assert answer.distance == "hamming"
        distances = [match.distance for match in answer.matches]
        assert distances == sorted(distances)
        assert {match.name: match.distance for match in answer.matches}[name] == 0
        assert set(distances) <= set(range(BITS + 1))
        assert distances[-1] > 0


def test_the_bundle_is_verified_and_a_flipped_bit_in_its_index_is_found(bundle: Path, tmp_path: Path) -> None:
    assert verify(bundle, "onnxruntime").problems == ()
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    with closing(sqlite3.connect(damaged / GALLERY, isolation_level=None)) as database:
        (code,) = database.execute("SELECT feature FROM images WHERE id = 0").fetchone()
        database.execute("UPDATE images SET feature = ? WHERE id = 0", (bytes([code[0] ^ 255, code[1] ^ 255]),))
    problems = verify(damaged, "onnxruntime").problems
    assert any("gallery.sqlite: changed" in problem for problem in problems)
    assert any("golden images have other neighbours" in problem for problem in problems)
