"""Local features from training to phone: a short run on real digits, every format, verify, search, what must fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.commands.search import query
from compress.commands.verify import verify
from compress.contracts import BadInput, EmbeddingSpec, HeldOut, ImageSet, Observation
from compress.gallery.store import GALLERY, read_gallery
from compress.model.checkpoint import load_model
from compress.model.reference import embed
from compress.pipeline import run
from compress.recipe.reader import Recipe, parse_recipe
from compress.run.plan import plan
from validators.checks.feature_parity import FeatureParity
from validators.checks.retrieval_map import RetrievalMap
from validators.gates import default_limits, evaluate_gates, located
from validators.local_matching import unpack

TRUNK = {"mobilenet_v1": {"width": 0.25}}
FEATURES = 8 * 8 + 4 * 4


def recipe(root: Path, **model: Any) -> Recipe:
    return parse_recipe(
        {
            "name": "local",
            "data": {"dataset": "image_folder", "root": str(root), "image_size": 32},
            "model": {"architecture": "delf", "trunk": TRUNK, "stride": 8, "sizes": [64, 32], "hidden": 16, **model},
            "train": {"epochs": 3, "batch_size": 16, "lr": 0.2, "schedule": "one_cycle", "clip_norm": 1},
            "compress": [{"delf": {"epochs": 2, "batch_size": 16, "lr": 0.2, "clip_norm": 1}}],
            "export": ["torchscript", "onnx", "tflite", {"coreml": {"precision": "fp32"}}],
        },
        "local",
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, save_photos: Callable[..., list[Path]]) -> Path:
    """150 tinted digits in ten classes."""
    root = tmp_path_factory.mktemp("photos")
    for label in range(10):
        save_photos(root / f"digit {label}", label, 15)
    return root


@pytest.fixture(scope="module")
def bundle(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    run(recipe(photos), folder)
    return folder


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / "bundle.json").read_text(encoding="utf-8")))


@pytest.mark.nightly
def test_every_format_gives_the_features_of_pytorch(manifest: dict[str, Any]) -> None:
    spec = {"dim": FEATURES * 43, "kind": "local", "distance": "local"}
    assert manifest["embedding"] == {**manifest["embedding"], **spec}
    assert [a["format"] for a in manifest["artifacts"]] == ["torchscript", "onnx", "tflite", "coreml"]
    for artifact in manifest["artifacts"]:
        assert artifact["evidence"] in ("native", "reference")
        assert [gate["name"] for gate in artifact["gates"] if not gate["passed"]] == []
        assert 0.2 < artifact["retrieval"]["mAP"] <= 1
    assert {control["caught"] for control in manifest["controls"]} == {True}
    assert "RANSAC" in manifest["source"]["rules"]["distance"]
    assert manifest["source"]["rules"]["queries"] == "30 of 30, evenly spaced, searching one another"


@pytest.mark.nightly
def test_an_image_of_the_gallery_finds_itself(bundle: Path, photos: Path) -> None:
    name = read_gallery(bundle / GALLERY).names[7]
    answer = query(bundle, photos / name, top=30, artifact="local.fp32.onnx")
    assert answer.distance == "local"
    assert answer.matches[0].name == name
    distances = [match.distance for match in answer.matches]
    assert distances == sorted(distances)
    assert distances[0] < 10 < distances[-1]  # features of 64 without a verified match


@pytest.mark.nightly
def test_the_bundle_is_verified(bundle: Path) -> None:
    assert verify(bundle, "onnxruntime").problems == ()


@pytest.mark.nightly
def test_wrong_places_and_wrong_scores_are_caught(bundle: Path) -> None:
    """The places are the same for all images, so that only a comparison of whole outputs can see them swapped."""
    images, labels = _golden(bundle)
    right = embed(load_model(bundle / "checkpoints/1-delf.safetensors"), images)
    table = right.reshape(len(right), FEATURES, 43)
    swapped, flat = table.copy(), table.copy()
    swapped[..., 40:42] = table[..., 41:39:-1]
    flat[..., 42] = table[..., 42].mean()
    pictures = ImageSet(images, labels, tuple(f"{number}" for number in range(len(labels))))
    held_out, spec = HeldOut(pictures, pictures, images), EmbeddingSpec.of(right.shape[1], "local")
    reference = Observation(right, right, right)
    right_gates = evaluate_gates(default_limits("fp32"), _values(reference, right, held_out, spec))
    assert [gate.passed for gate in right_gates if gate.name == "min_cosine"] == [True]
    for name, broken in {"swapped": swapped, "flat": flat}.items():
        gates = evaluate_gates(default_limits("fp32"), _values(reference, broken.reshape(right.shape), held_out, spec))
        assert "min_cosine" in [gate.name for gate in gates if not gate.passed], name


def _values(
    reference: Observation, given: np.ndarray, held_out: HeldOut, spec: EmbeddingSpec
) -> dict[str, float | None]:
    candidate = Observation(given, given, given)
    checks = (FeatureParity(), RetrievalMap())
    values: dict[str, float | None] = {}
    for check in checks:
        values |= located(check.section, check.run(reference, candidate, held_out, spec))
    return values


def _golden(bundle: Path) -> tuple[np.ndarray, np.ndarray]:
    golden = json.loads((bundle / "golden/golden.json").read_text(encoding="utf-8"))
    pixels = np.fromfile(bundle / "golden/images.u8", np.uint8).reshape(golden["tensors"]["shape"])
    return pixels, np.array([entry["class"] for entry in golden["images"]])


@pytest.mark.nightly
def test_the_reloaded_network_gives_what_the_gallery_holds(bundle: Path) -> None:
    model = load_model(bundle / "checkpoints/1-delf.safetensors")
    images, _ = _golden(bundle)
    local = unpack(embed(model, images[:4]))
    assert np.linalg.norm(local.features, axis=2) == pytest.approx(np.ones((4, FEATURES)), abs=1e-5)
    stored = unpack(read_gallery(bundle / GALLERY).features)
    assert np.array_equal(stored.locations[0], local.locations[0])


def test_what_does_not_fit_is_refused_before_anything_runs(photos: Path) -> None:
    wanted = recipe(photos)
    with pytest.raises(BadInput, match=r"model\.distance: 'l2' must be one of local for delf"):
        recipe(photos, distance="l2")
    other = parse_recipe({**wanted.resolved, "model": {"architecture": "alnet"}}, "local")
    with pytest.raises(BadInput, match=r"1-delf: alnet gives no local features; set model\.architecture: delf"):
        plan(other)
