"""fp32, calibration and ``qat`` over eight networks: ``python -m benchmarks.qat RESULTS.jsonl [NAME …]``.

Each network is trained from random weights on digits at 32 px, for two seeds. It is then exported as TFLite: fp32, w8a8
with calibrated ranges, and w8a8 after the stage ``qat``, by labels alone and with the float network as teacher. The
value is the mAP of the executed file over held-out images. Each line of RESULTS is one network and seed; those that are
there are not run again. It ends by printing a table; about half an hour on one core.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.distillation import shortened, trained
from compress.contracts import Architecture, CompressError, Data, EmbeddingSpec, Model
from compress.data.calibration import DEFAULT
from compress.data.load import load_data
from compress.data.splits import even_choice
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.options import build
from compress.plugins import find
from compress.stages.qat import Qat
from compress.stages.train import Train
from exporters import deploy, find_exporter, planned
from validators import run_artifact
from validators.metrics import evaluate_retrieval

SIZE = 32
SEEDS = (0, 1)
NETWORKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ALNet": ("alnet", {"stem_stride": 1}),
    "MobileNetV2": ("mobilenet_v2", {}),
    "MobileNetV3-small": ("mobilenet_v3", {}),
    "ShuffleNet v1": ("shufflenet_v1", {}),
    "ShuffleNet v2": ("shufflenet_v2", {}),
    "ResNet-18": ("resnet", {"depth": 18}),
    "LCNet-0.5": ("timm", {"backbone": "lcnet_050"}),
    "MobileNetV4-conv-small-0.5": ("timm", {"backbone": "mobilenetv4_conv_small_050"}),
}
TRAIN = {"epochs": 6, "batch_size": 32, "lr": 0.05, "schedule": "one_cycle", "loss": CrossEntropy()}
QAT = {"epochs": 2, "batch_size": 32, "loss": CrossEntropy()}
TAUGHT = {**QAT, "embedding": {"distance": "l2"}, "relational": {"weight": 1}}
COLUMNS = ("fp32", "calibrated", "qat", "qat, taught")


def fresh(name: str, data: Data, seed: int) -> Model:
    component, options = NETWORKS[name]
    architecture = build(find(Architecture, component), options, component)
    torch.manual_seed(seed)
    network = architecture.build(len(data.classes))
    return Model(architecture, network, data.classes, data.preprocess, EmbeddingSpec(network.embedding_dim))


def embedded(model: Model, data: Data, precision: str, seed: int) -> np.ndarray:
    """What the executed .tflite file gives for the held-out images. Raises CompressError if the export refuses it."""
    calibration = None
    if precision == "w8a8":
        calibration = data.train.images[even_choice(data.train.labels, min(DEFAULT, len(data.train)), seed)]
    graph = deploy(model, name="network", license="unspecified", calibration=calibration)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        planned(find_exporter(".tflite")(precision=precision), graph).write(graph, path)
        return run_artifact(path, data.queries.images[: len(data.queries)])


def mean_average_precision(model: Model, data: Data, precision: str, seed: int) -> float | None:
    """Of the .tflite file over the held-out images; None if the export refuses the file as too far off."""
    try:
        found = embedded(model, data, precision, seed)
    except CompressError as error:
        print(error, file=sys.stderr)
        return None
    labels = data.queries.labels
    return evaluate_retrieval(found, found, labels, labels, distance="l2", metrics=("mAP",), exclude_self=True)["mAP"]


def measured(name: str, seed: int, data: Data) -> dict[str, Any]:
    model = trained(build(Train, TRAIN, "train"), fresh(name, data, seed), data, seed)
    line: dict[str, Any] = {"network": name, "seed": seed}
    line["fp32"] = mean_average_precision(model, data, "fp32", seed)
    line["calibrated"] = mean_average_precision(model, data, "w8a8", seed)
    for column, options in (("qat", QAT), ("qat, taught", TAUGHT)):
        fine = trained(build(Qat, options, "qat"), model, data, seed)
        line[column] = mean_average_precision(fine, data, "w8a8", seed)
        line[f"{column} kept"] = fine.history[-1]["kept"]
    return line


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: mAP in percent, one row per network and seed; a star where the stage kept the calibrated network."""
    rows = [f"| network | seed | {' | '.join(COLUMNS)} |", f"|---|---{'|---' * len(COLUMNS)}|"]
    for line in lines:
        stars = ["*" if line.get(f"{column} kept") == "calibration" else "" for column in COLUMNS]
        values = ["refused" if line[column] is None else f"{100 * line[column]:.2f}" for column in COLUMNS]
        cells = [value + star for value, star in zip(values, stars, strict=True)]
        rows.append(f"| {line['network']} | {line['seed']} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main(path: Path, names: Sequence[str]) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(line["network"], line["seed"]) for line in lines}
    for seed in SEEDS:
        data = shortened(load_data(Digits(image_size=SIZE), seed), 1500, 600)
        for name in names or NETWORKS:
            if (name, seed) in done:
                continue
            lines.append(measured(name, seed, data))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    print(table(sorted(lines, key=lambda line: (list(NETWORKS).index(line["network"]), line["seed"]))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
