"""A bundle without training: real digits, embedded by their pixels; one file agrees, one is blurred, one not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from compress.bundle.manifest import file_hashes
from compress.bundle.rankings import RANKINGS, Rankings
from compress.contracts import GalleryOptions, HeldOut, Observation
from compress.gallery.store import GALLERY, read_gallery, write_gallery
from tests import _pooled

CLASSES = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', *(f"digit {digit}" for digit in range(2, 10)))
PER_CLASS = 6
WORST = "worst/pooled.fp16.tflite.litert.png"


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
    ranked = [
        {"path": path, "runtime": runtime, **ranker.of(Observation(given, given, given[:4]))}
        for (path, runtime), given in seen.items()
    ]
    (folder / RANKINGS).write_text(json.dumps({**ranker.about(64), "models": ranked}), encoding="utf-8")
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
    (folder / "bundle.json").write_text(json.dumps(manifest(folder)), encoding="utf-8")
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    good = [{"name": "min_cosine", "limit": 0.99999, "value": 1.0, "passed": True}]
    bad = [{"name": "min_cosine", "limit": 0.998, "value": 0.91, "passed": False}]
    return {
        "schema": 1,
        "name": "<b>pooled</b>",
        "created_by": {"compress": "0"},
        "architecture": {
            "name": "alnet", "params": 60, "macs": 600, "input": [28, 28], "pruned": {"blocks.0": [32, 24]}
        },
        "embedding": {"dim": 49, "kind": "float", "distance": "l2", "space_id": "0"},
        "preprocess": {"resize": [28, 28]},
        "data": {
            "dataset": "digits", "images": 60, "classes": 10, "duplicates": 2, "skipped": {"<i>.jpg": "truncated"}
        },
        "source": {"mAP": 0.6, "rules": {"mAP": "its rule"}},
        "artifacts": [
            {
                **_entry("artifacts/pooled.fp32.tflite", "tflite", "fp32", "litert", 0.6, 1.0, good),
                "other_runtimes": [_entry("", "", "", "tflite_runtime", 0.6, 1.0, good, "older-runtime")],
            },
            {
                **_entry("artifacts/pooled.fp16.tflite", "tflite", "fp16", "litert", 0.5, 0.91, bad),
                "other_runtimes": [],
            },
            {
                **_entry("artifacts/pooled.fp32.mlpackage", "coreml", "fp32", "coreml", None, None, [], "not-run"),
                "reason": "needs macOS & patience",
                "other_runtimes": [],
            },
            {
                **_entry("artifacts/pooled.fp32.onnx", "onnx", "fp32", "onnxruntime", None, None, bad),
                "other_runtimes": [],
            },
        ],
        "controls": [
            {"name": "channel_swap", "precision": "fp32", "failed_gates": ["min_cosine"], "caught": True},
            {"name": "other_weights", "precision": "fp16", "failed_gates": [], "caught": False},
        ],
        "compatibility": {
            "pytorch": {"pytorch": 0.6, "artifacts/pooled.fp16.tflite": 0.55},
            "artifacts/pooled.fp16.tflite": {"pytorch": 0.53, "artifacts/pooled.fp16.tflite": 0.5},
        },
        "files": file_hashes(folder, ["metrics.jsonl", "recipe.yaml", RANKINGS, "gallery", "worst"]),
    }  # fmt: skip


def _entry(
    path: str,
    file_format: str,
    precision: str,
    runtime: str,
    mean_ap: float | None,
    cosine: float | None,
    gates: list[dict[str, Any]],
    evidence: str = "native",
) -> dict[str, Any]:
    ran = mean_ap is not None
    file = {"path": path, "format": file_format, "precision": precision, "bytes": 2_000_000, "sha256": "ab"}
    return {
        **(file if path else {}),
        "runtime": runtime,
        "runtime_version": f"{runtime} 1.0" if ran else None,
        "evidence": evidence,
        "reason": None,
        "parity": {
            "min_cosine": cosine,
            "top10_overlap": cosine,
            "worst_image": "<u>0</u>",
            "worst_image_file": WORST if precision == "fp16" else "../secret.png",
        }
        if ran
        else None,
        "retrieval": {"mAP": mean_ap, "mAP_drop": 0.6 - mean_ap} if mean_ap is not None else None,
        "latency_ms": {"median": 1.5, "p95": 2.5, "threads": 1} if ran else None,
        "notes": [],
        "gates": gates,
    }
