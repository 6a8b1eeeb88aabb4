"""A gallery embedded at several sizes: the mean is the definition's, every score uses it, the index holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from architectures.mobilenet_v1 import MobileNetV1
from compress.contracts import BadInput, EmbeddingSpec, HeldOut, ImageSet, Model, Preprocess
from compress.model.reference import embed, observe
from compress.recipe.reader import load_recipe
from compress.run.plan import plan
from exporters import export_model
from tests._pooled import images
from validators import runtimes_for
from validators.checks.rank_agreement import RankAgreement
from validators.checks.retrieval_map import RetrievalMap
from validators.measure import measure
from validators.metrics import evaluate_retrieval

SCALES = (1.0, 0.7071, 0.5)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    architecture = MobileNetV1(width=0.1, stem_stride=1)
    network: Any = architecture.build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network(torch.randn(16, 3, 28, 28))
    spec = EmbeddingSpec(network.embedding_dim, distance="cosine")
    return Model(architecture, network.eval(), ("a",), Preprocess((28, 28)), spec)


@pytest.fixture
def digits(digit_images: np.ndarray) -> ImageSet:
    return images(digit_images, 4)


def test_it_is_the_mean_of_unit_vectors_of_resized_images(model: Model, digits: ImageSet) -> None:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (model.preprocess.mean, model.preprocess.std))
    network: Any = model.network
    for row in (0, 17):
        image = (torch.from_numpy(np.array(digits.images[row])).permute(2, 0, 1) / 255 - mean) / std
        units = []
        for side in (28, 20, 14):
            resized = F.interpolate(image[None], (side, side), mode="bilinear", antialias=True)
            with torch.no_grad():
                feature = network.embed(resized)[0].double().numpy()
            units.append(feature / np.linalg.norm(feature))
        expected = sum(units) / np.linalg.norm(sum(units))
        found = embed(model, digits.images, SCALES)[row]
        assert found == pytest.approx(expected, abs=1e-5)
        assert found != pytest.approx(units[0], abs=1e-3)


@pytest.mark.nightly
def test_artifacts_ask_at_one_size_in_the_gallery_of_several(model: Model, digits: ImageSet, tmp_path: Path) -> None:
    """Leave-one-out; the retrieval score is that of plain evaluation, the artifact's queries on the stored features."""
    held_out = HeldOut(digits, digits, np.asarray(digits.images[:2]), scales=SCALES)
    reference = observe(model, held_out)
    stored = embed(model, digits.images, SCALES)
    assert np.array_equal(reference.gallery, stored)
    assert np.array_equal(reference.queries, embed(model, digits.images))
    path = export_model(model.network, tmp_path / "asks.onnx", input_size=28, distance="cosine")
    checks, (runtime, *_) = (RetrievalMap(), RankAgreement()), runtimes_for("onnx")
    measured = measure(runtime, path, reference, held_out, checks, model.embedding)
    found, observed = measured.measurement, measured.observation
    assert found.retrieval is not None and found.ranking is not None
    assert observed is not None and observed.gallery is reference.gallery
    labels = digits.labels
    right = evaluate_retrieval(observed.queries, stored, labels, labels, distance="cosine", exclude_self=True)["mAP"]
    assert found.retrieval.mAP == pytest.approx(right, abs=1e-9)
    single = observe(model, replace(held_out, scales=(1.0,)))
    assert single.gallery is single.queries
    other = evaluate_retrieval(single.queries, single.gallery, labels, labels, distance="cosine", exclude_self=True)
    assert right != pytest.approx(other["mAP"], abs=1e-4)
    assert found.ranking.largest_ap_drop == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("scales", "distance", "words"),
    [
        ("[1, 0.5]", "l2", r"gallery\.scales: \[1\.0, 0\.5\] needs embeddings compared by cosine; set it as model"),
        ("[1, 1]", "cosine", r"gallery\.scales: \[1\.0, 1\.0\] must hold one scale or several different ones"),
        ("[1, 0.01]", "cosine", r"gallery\.scales: 0\.01 leaves 0 x 0 pixels of an image; set 0\.286 or more"),
        ("[]", "cosine", r"gallery\.scales: \[\] must hold one scale"),
    ],
)
def test_what_has_no_meaning_is_refused_before_training(scales: str, distance: str, words: str) -> None:
    overrides = ["data={dataset: digits}", f"gallery={{scales: {scales}}}", f"model.distance={distance}", "export=[]"]
    with pytest.raises(BadInput, match=words):
        plan(load_recipe(Path("recipes/quickstart.yaml"), overrides))
