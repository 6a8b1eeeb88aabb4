"""Whole runs where a gallery of its own is searched, the tested classes never train and lists say what is relevant."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.contracts import EmbeddingSpec, HeldOut, ImageSet
from compress.data.load import load_data
from compress.datasets.roxford5k import Roxford5k
from compress.model.checkpoint import load_model
from compress.model.reference import embed
from compress.run.controls import judge
from tests._command import compress_here
from validators.checks.feature_parity import FeatureParity
from validators.checks.retrieval_map import RetrievalMap
from validators.gates import default_limits
from validators.metrics import average_precision

RECIPE = """
name: landmarks
seed: 0
license: CC0-1.0
data: {{dataset: roxford5k, root: "{root}", image_size: 32, validation_share: 0.5, {train}}}
model:
  architecture: alnet
  widths: [16, 16, 24]
  strides: [2, 2, 1]
  expansions: [1, 3, 3]
  head_width: 64
  {checkpoint}
{stages}
export: [{{onnx: {{}}}}]
"""


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory,
    photo: Callable[..., Image.Image],
    save_photos: Callable[..., list[Path]],
) -> Path:
    """Four queries of two landmarks, 24 images; other landmarks in ``others``. The fourth query has no Easy answer."""
    root = tmp_path_factory.mktemp("landmarks")
    (root / "roxford5k" / "jpg").mkdir(parents=True)
    names = [f"{landmark}_{number:06d}" for landmark in ("bodleian", "magdalen") for number in range(14)]
    for number, name in enumerate(names):
        photo(number // 14, number).save(root / "roxford5k" / "jpg" / f"{name}.jpg", quality=95)
    asked, searched = names[:2] + names[14:16], names[2:14] + names[16:]
    listed = [
        {
            "bbx": [8.0, 4.0, 60.0, 44.0],
            "easy": np.arange(first, first + (0 if query == 3 else 4)),
            "hard": np.arange(first + 4, first + 8),
            "junk": np.arange(first + 8, first + 10),
        }
        for query, first in enumerate([0, 1, 12, 13])
    ]
    content = {"imlist": searched, "qimlist": asked, "gnd": listed}
    (root / "roxford5k" / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(content, protocol=2))
    for label, name in enumerate(["big_ben", "duomo", "louvre", "skansen"]):
        save_photos(root / "others" / name, label, 20, first=40)
    return root


def write(root: Path, path: Path, *, train: str = "", checkpoint: str = "", stages: str = "") -> Path:
    path.write_text(RECIPE.format(root=root, train=train, checkpoint=checkpoint, stages=stages), encoding="utf-8")
    return path


@pytest.mark.nightly
def test_a_run_on_landmarks_and_what_another_run_without_training_may_do(root: Path, tmp_path: Path) -> None:
    trained = write(
        root,
        tmp_path / "trained.yaml",
        train=f'train: "{root / "others"}"',
        stages="train: {epochs: 8, batch_size: 4, lr: 0.02, schedule: one_cycle}",
    )
    out = tmp_path / "out"
    ended = compress_here("run", trained, "--out", out)
    assert ended.code == 0, ended.stderr
    manifest = json.loads((out / "bundle.json").read_text(encoding="utf-8"))
    assert manifest["data"]["splits"] == {"train": 40, "validation": 40, "test": 4, "gallery": 24}
    assert manifest["data"]["images"] == 108
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [0 < line["validation_mAP"] <= 1 for line in logged if "loss" in line] == [True] * 8

    # The numbers again, query by query, from the checkpoint and the published rule.
    source, model = manifest["source"], load_model(out / "checkpoints" / "train.safetensors")
    data = load_data(Roxford5k(root=str(root), image_size=32, train=str(root / "others"), validation_share=0.5), seed=0)
    queries, gallery = (embed(model, part.images).astype(float) for part in (data.queries, data.gallery))
    distances = ((queries[:, None] - gallery) ** 2).sum(axis=2)
    for setting, truth in data.ground_truths.items():
        flags = [[np.isin(np.arange(24), rows) for rows in part] for part in (truth.relevant, truth.junk)]
        expected = np.array(
            [
                average_precision(-values, relevant, junk=junk, form="trapezoid")
                for values, relevant, junk in zip(distances, *flags, strict=True)
            ]
        )
        assert source[f"mAP/{setting}"] == pytest.approx(np.nanmean(expected), abs=1e-5)
        assert source[f"empty_queries/{setting}"] == np.isnan(expected).sum() == (setting == "easy")
    assert source["mAP"] == source["mAP/medium"] != source["mAP/hard"]
    (artifact,) = manifest["artifacts"]
    assert abs(artifact["retrieval"]["mAP_drop"]) < 1e-6
    assert artifact["retrieval"]["mAP/hard"] == pytest.approx(source["mAP/hard"], abs=1e-6)
    assert manifest["compatibility"]["pytorch"]["pytorch"] == pytest.approx(source["mAP"], abs=1e-6)
    assert all(control["caught"] for control in manifest["controls"])
    golden = json.loads((out / "golden" / "golden.json").read_text(encoding="utf-8"))
    assert golden["gallery"]["leave_one_out"] is False
    assert [len(image["neighbours"]) for image in golden["images"]] == [10] * 4
    rankings = json.loads((out / "rankings.json").read_text(encoding="utf-8"))
    assert [query["relevant"] for query in rankings["queries"]] == [
        truth.tolist() for truth in data.ground_truths["medium"].relevant
    ]
    assert compress_here("verify", out).code == 0

    # Without training images: the checkpoint of other classes is tested; what would train is refused before it starts.
    checkpoint = f'checkpoint: "{out / "checkpoints" / "train.safetensors"}"'
    tested = compress_here("run", write(root, tmp_path / "tested.yaml", checkpoint=checkpoint), "--dry-run")
    assert tested.code == 0, tested.stderr
    assert "0 training and 4 test images, 2 classes, a gallery of 24" in tested.stdout
    refused = compress_here("run", write(root, tmp_path / "no.yaml", stages="train: {epochs: 1}"), "--dry-run")
    assert refused.code == 2
    assert "roxford5k has no training images, which train needs; name some in data.train" in refused.stderr


def test_controls_are_not_caught_by_a_mean_average_precision_that_nothing_could_have() -> None:
    """Queries of an instance set are each of a class of their own: no probe can find another."""
    right = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    probes = np.zeros((6, 8, 8, 3), np.uint8)
    nothing = ImageSet(probes, np.arange(6), tuple("abcdef"))
    checks, spec, limits = (RetrievalMap(), FeatureParity()), EmbeddingSpec(8), {"fp32": default_limits("fp32")}
    for labels, wrong in ((np.arange(6), right[::-1]), (np.array([0, 0, 1, 1, 2, 2]), right[::-1])):
        held_out = HeldOut(nothing, nothing, probes)
        same, other = judge({"same": right, "other": wrong}, right, held_out, labels, checks, spec, limits)
        assert not same.caught, same.failed_gates
        assert other.caught
