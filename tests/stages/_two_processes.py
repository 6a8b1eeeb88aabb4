"""Trainings by as many processes as run this: ``torchrun -m tests.stages._two_processes FOLDER``.

``FOLDER/images.npz`` holds what to train on; the first process writes ``FOLDER/found.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from architectures.alnet import ALNet
from compress.contracts import Data, EmbeddingSpec, ImageSet, Model, Preprocess
from compress.losses.contrastive import Contrastive
from compress.losses.cross_entropy import CrossEntropy
from compress.stages._schedules import learning_rate
from compress.stages._team import Team
from compress.stages._training import Training
from compress.stages.train import Train
from compress.system import processes

SMALL = ALNet(stem_stride=2, widths=(16, 24), strides=(2, 2), expansions=(1, 3), head_width=32)
# In double precision, because a few dozen steps make a hundredth out of float32's rounding.
OPTIONS: Mapping[str, Any] = {
    "precision": "64-true",
    "epochs": 2,
    "batch_size": 20,
    "lr": 0.2,
    "schedule": "one_cycle",
    "clip_norm": 5.0,
    "accelerator": "cpu",
}
Patches = Callable[[], AbstractContextManager[Any]]

CASES: dict[str, tuple[Train, Patches]] = {
    "cross_entropy": (Train(training=Training(**OPTIONS, loss=CrossEntropy(), random_crop=2, noise=0.1)), nullcontext),
    "pairs": (Train(training=Training(**OPTIONS, loss=Contrastive(), per_class=4, bn_sparsity=1e-3)), nullcontext),
    "own statistics": (
        Train(training=Training(**OPTIONS, loss=CrossEntropy(), random_crop=2, noise=0.1)),
        lambda: patch.object(Team, "synchronised", lambda *_: nullcontext()),
    ),
    "own pairs": (
        Train(training=Training(**OPTIONS, loss=Contrastive(), per_class=4, bn_sparsity=1e-3)),
        lambda: patch.object(Team, "gathered", gathered_statistics_only),
    ),
}
"""Name -> stage, and the mistake that is built in."""

_gathered = Team.gathered


def gathered_statistics_only(team: Team, rows: torch.Tensor) -> torch.Tensor:
    """Of the images only this process's, twice."""
    return _gathered(team, rows) if rows.dim() == 3 else torch.cat([rows] * team.count)


def data_of(file: Path) -> Data:
    with np.load(file) as stored:
        images, labels = stored["images"], stored["labels"]
    everything = ImageSet(images, labels, tuple(map(str, range(len(images)))))
    few = ImageSet(images[::4], labels[::4], everything.ids[::4])
    classes = tuple(map(str, range(10)))
    return Data("digits", classes, everything, few, few, few, Preprocess(images.shape[1:3]), 0, {}, "")


def model_of(data: Data, loss: Any) -> Model:
    torch.manual_seed(0)
    distance = loss.distance or "l2"
    return Model(SMALL, SMALL.build(10), data.classes, data.preprocess, EmbeddingSpec(32, distance=distance))


def trained(data: Data, stage: Train, scratch: Path) -> list[Mapping[str, Any]]:
    scratch.mkdir(parents=True, exist_ok=True)
    return list(stage.run(model_of(data, stage.training.loss), data, seed=1, scratch=scratch).history)


def resumed(data: Data, stage: Train, scratch: Path) -> list[Mapping[str, Any]]:
    """Stopped in the second epoch; only the first process finds what it left."""
    done = 0

    def stopped(*arguments: Any) -> float:
        nonlocal done
        done += 1
        if done > 7:  # 5 steps an epoch
            raise KeyboardInterrupt
        return learning_rate(*arguments)

    with patch("compress.stages._fit.learning_rate", stopped), suppress(KeyboardInterrupt):
        trained(data, stage, scratch)
        raise AssertionError("it was not stopped")
    return trained(data, stage, scratch)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    data = data_of(folder / "images.npz")
    own = folder / f"process {processes.number()}"
    # Here all processes begin a stage by themselves, as none of them waits for tasks.
    with patch.object(Team, "call", lambda *_: processes.broadcast("begin")):
        found = {}
        for name, (stage, mistake) in CASES.items():
            with mistake():
                found[name] = trained(data, stage, own / name)
        found["resumed"] = resumed(data, CASES["cross_entropy"][0], own / "resumed")
    if processes.number() == 0:
        (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
    else:
        assert not list(own.rglob("*.pt")), "the first process alone writes"
        assert not list(processes.tasks())
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
