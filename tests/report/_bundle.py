"""A bundle without training: real digits, embedded by their pixels; one file agrees, one is blurred, one not run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from compress.bundle.manifest import (
    MANIFEST,
    SCHEMA,
    ArchitectureEntry,
    ArtifactEntry,
    Control,
    DataEntry,
    EmbeddingEntry,
    ExhaustiveGallery,
    Manifest,
    PreprocessEntry,
    file_hashes,
)
from compress.bundle.rankings import RANKINGS, Rankings
from compress.contracts import GalleryOptions, HeldOut, Observation
from compress.gallery.store import GALLERY, read_gallery, write_gallery
from compress.system.files import write_json
from tests import _pooled
from validators.results import (
    Device,
    Execution,
    Flips,
    Gate,
    LatencyResult,
    Parity,
    PartlyRebuilt,
    PhotoWay,
    PhotoWays,
    PipelineTime,
    Retrieval,
    SourceScores,
    Upgrade,
)

CLASSES = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', *(f"digit {digit}" for digit in range(2, 10)))
PER_CLASS = 6
WORST = "worst/pooled.fp16.tflite.litert.png"
MAP = 0.6
"""Of the PyTorch model."""


def write(folder: Path, digits: np.ndarray) -> Path:
    """Write the bundle; its class and file names are hostile."""
    images = _pooled.images(digits, PER_CLASS)
    features = _pooled.embed(images)
    # Columns left away: near enough to rank alike, far enough to rank some images otherwise.
    blurred = features.copy()
    blurred[:, ::3] = 0
    held_out = HeldOut(images, images, np.asarray(images.images[:4]))
    write_gallery(
        folder / GALLERY, images, features, CLASSES, _pooled.FLOAT, GalleryOptions(), {"name": "p", "space_id": "0"}
    )
    ranker = Rankings(held_out, read_gallery(folder / GALLERY), CLASSES, _pooled.FLOAT)
    seen = {
        ("pytorch", None): features,
        ("artifacts/pooled.fp32.tflite", "litert"): features,
        ("artifacts/pooled.fp32.tflite", "tflite_runtime"): features,
        ("artifacts/pooled.fp16.tflite", "litert"): blurred,
        ("artifacts/pooled.fp32.onnx", "onnxruntime"): np.full_like(features, np.nan),
    }
    ranked = [ranker.of(Observation(given, given, given[:4]), path, runtime) for (path, runtime), given in seen.items()]
    write_json(folder / RANKINGS, ranker.file(64, tuple(ranked)).to_json())
    lines = [
        *(
            {"stage": "train", "epoch": n, "loss": 2 / n, "lr": 0.1, "validation_accuracy": 0.3 + n / 10}
            for n in (1, 2)
        ),
        {"stage": "prune", "step": 1, "params": 60, "macs": 600, "bytes": 1, "params_before": 100, "macs_before": 1000},
        *({"stage": "prune", "step": 1, "epoch": n, "loss": 1 / n, "validation_accuracy": 0.4} for n in (1, 2)),
        {"stage": "validate", "path": "artifacts/pooled.fp32.tflite"},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "recipe.yaml").write_text("name: </style><script>alert(3)</script>\n", encoding="utf-8")
    (folder / "worst").mkdir()
    Image.fromarray(np.asarray(images.images[0])).save(folder / WORST)
    write_json(folder / MANIFEST, manifest(folder).to_json())
    return folder


def manifest(folder: Path) -> Manifest:
    good, bad = _min_cosine(0.99999, 1.0), _min_cosine(0.998, 0.91)
    unexecuted = Execution(
        runtime="coreml", runtime_version=None, evidence="not-run", reason="needs macOS & patience", gates=()
    )
    older = _execution("tflite_runtime", MAP, 1.0, good).model_copy(update={"evidence": "older-runtime"})
    phone = Execution(
        runtime="litert on <b>Pixel</b> 8, gpu",
        runtime_version="litert 2.1.0",
        processor="gpu",
        evidence="device",
        reason=None,
        gates=(good,),
        device=Device(
            model="<b>Pixel</b> 8",
            system="Android 16",
            measured_by="app team",
            measured_at="2026-11-27",
            results_sha256="ab",
            load_ms=31.5,
            peak_bytes=90_000_000,
            pipeline_ms=PipelineTime(median=9.25, p95=12.0),
        ),
    )
    unranked = Execution(
        runtime="onnxruntime", runtime_version="onnxruntime 1.0", evidence="native", reason=None, gates=(bad,)
    )
    return Manifest(
        schema_number=SCHEMA,
        name="<b>pooled</b>",
        created_by={"compress": "0"},
        recipe_sha256="ab",
        license="CC0-1.0",
        architecture=ArchitectureEntry(
            name="alnet",
            options={},
            params=60,
            macs=600,
            paper_flops=1200,
            paper_params=60,
            macs_with_batch_norm=600,
            input=(28, 28),
            pruned={"blocks.0": (32, 24)},
        ),
        embedding=EmbeddingEntry(dim=49, kind="float", distance="l2", space_id="0"),
        preprocess=PreprocessEntry(
            color="RGB",
            resize=(28, 28),
            crop="none",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            interpolation="bilinear",
            antialias=True,
            folded=True,
        ),
        data=DataEntry(
            dataset="digits",
            images=60,
            classes=10,
            duplicates=2,
            skipped={"<i>.jpg": "truncated"},
            splits={"train": 0, "test": 60},
        ),
        source=SourceScores(mAP=MAP, rules={"mAP": "its rule"}),
        artifacts=(
            _artifact("pooled.fp32.tflite", "tflite", _prepared("litert", good), older, phone),
            _artifact("pooled.fp16.tflite", "tflite", _execution("litert", 0.5, 0.91, bad, WORST)),
            _artifact("pooled.fp32.mlpackage", "coreml", unexecuted),
            _artifact("pooled.fp32.onnx", "onnx", unranked),
        ),
        gallery=ExhaustiveGallery(images=60, of=60, index=None),
        controls=(
            Control(name="channel_swap", precision="fp32", failed_gates=("min_cosine",), caught=True),
            Control(name="other_weights", precision="fp16", failed_gates=(), caught=False),
        ),
        compatibility={
            "pytorch": {"pytorch": MAP, "artifacts/pooled.fp16.tflite": 0.55},
            "artifacts/pooled.fp16.tflite": {"pytorch": 0.53, "artifacts/pooled.fp16.tflite": 0.5},
        },
        upgrade=Upgrade(
            space_id="old",
            dim=40,
            queries=60,
            old_mAP=0.4321,
            partly=tuple(
                PartlyRebuilt(share=share, mAP=0.5 + share / 10, flips=Flips(lost=7, gained=1234))
                for share in (0.0, 0.5, 1.0)
            ),
            gain=0.0679,
            gain_low=0.0421,
            gain_high=0.0934,
            lowest="pytorch",
            gates=(Gate(name="old_gallery_gain", limit=0.0, value=0.0421, passed=True),),
        ),
        files=file_hashes(folder, ["metrics.jsonl", "recipe.yaml", RANKINGS, "gallery", "worst"]),
    )


def _prepared(runtime: str, gate: Gate) -> Execution:
    """An artifact with photographs prepared in two other ways."""
    ways = (
        PhotoWay(way="resize nearest", bytes_changed=0.875, mean_levels=6.25, mAP=0.5, mAP_drop=0.1),
        PhotoWay(way="JPEG 30", bytes_changed=0.9, mean_levels=2.0, mAP=0.6, mAP_drop=0.0),
    )
    photos = PhotoWays(queries=20, mAP=MAP, mAP_drop=0.1, worst="resize nearest", ways=ways)
    return _execution(runtime, MAP, 1.0, gate).model_copy(update={"photos": photos})


def _min_cosine(limit: float, value: float) -> Gate:
    return Gate(name="min_cosine", limit=limit, value=value, passed=value >= limit)


def _artifact(name: str, file_format: str, execution: Execution, *others: Execution) -> ArtifactEntry:
    return ArtifactEntry(
        path=f"artifacts/{name}",
        format=file_format,
        precision=name.split(".")[1],
        bytes=2_000_000,
        sha256="ab",
        **dict(execution),
        other_runtimes=others,
    )


def _execution(
    runtime: str, mean_ap: float, cosine: float, gate: Gate, worst_image_file: str = "../secret.png"
) -> Execution:
    parity = Parity(
        min_cosine=cosine,
        min_centered_cosine=cosine,
        mean_cosine=cosine,
        p01_cosine=cosine,
        max_abs_error=0.0,
        max_rel_error=0.0,
        mean_abs_error=0.0,
        top10_overlap=cosine,
        worst_image="<u>0</u>",
        worst_image_file=worst_image_file,
    )
    return Execution(
        parity=parity,
        retrieval=Retrieval(mAP=mean_ap, mAP_drop=MAP - mean_ap),
        latency_ms=LatencyResult(median=1.5, p95=2.5, threads=1),
        runtime=runtime,
        runtime_version=f"{runtime} 1.0",
        evidence="native",
        reason=None,
        gates=(gate,),
    )
