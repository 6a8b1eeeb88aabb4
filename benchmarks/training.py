"""Training throughput of ALNet against a plain PyTorch loop: ``python -m benchmarks.training [images]``.

The plain loop has its images as normalised float tensors in memory and does nothing but the textbook steps. The stage
decodes nothing either (its images lie in the cache, as in every epoch but the first), but reads uint8 batches ahead,
normalises them, counts, logs and saves its state. The ratio is images per second, stage over loop; the share of the
data path is what the stage's steps take longer than the same steps over one batch that stays in memory.
"""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from architectures.alnet import ALNet
from benchmarks._timing import medians
from compress.contracts import Data, EmbeddingSpec, ImageSet, Model, Preprocess
from compress.data.batches import batches
from compress.options import build
from compress.stages.train import Train

BATCH = {28: 128, 128: 32, 224: 16}
ROUNDS = 5


def data_of(size: int, count: int) -> Data:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    everything = ImageSet(images, random.integers(0, 10, count), tuple(map(str, range(count))))
    few = ImageSet(images[:10], everything.labels[:10], everything.ids[:10])
    names = tuple("0123456789")
    return Data("random", names, everything, few, few, few, Preprocess((size, size)), 0, {}, "")


def model_of(size: int) -> Model:
    torch.manual_seed(0)
    architecture = ALNet(stem_stride=1 if size < 64 else 2)
    network: Any = architecture.build(10)
    return Model(architecture, network, tuple("0123456789"), Preprocess((size, size)), EmbeddingSpec(1280))


def plain_loop(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, batch: int) -> None:
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    network.train()
    for start in range(0, len(images) - batch + 1, batch):
        optimizer.zero_grad()
        F.cross_entropy(network(images[start : start + batch]), labels[start : start + batch]).backward()
        optimizer.step()


def main(count: int) -> None:
    print(f"{torch.get_num_threads()} threads, {count} images, {ROUNDS} rounds")
    for size, batch in BATCH.items():
        data, model, plain = data_of(size, count), model_of(size), model_of(size).network
        floats = torch.from_numpy(data.train.images[:]).permute(0, 3, 1, 2).float().contiguous() / 255 - 0.45
        labels = torch.from_numpy(data.train.labels)
        stage = build(Train, {"epochs": 1, "batch_size": batch}, "train")

        def run_stage(stage: Train = stage, model: Model = model, data: Data = data) -> None:
            with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
                stage.run(model, data, seed=0, scratch=Path(scratch))

        def read(data: Data = data, batch: int = batch) -> None:
            for _ in batches(data.train, batch, np.random.default_rng(1).permutation(count)):
                pass

        loop = lambda p=plain, x=floats, y=labels, b=batch: plain_loop(p, x, y, b)  # noqa: E731
        seconds = medians({"loop": loop, "stage": run_stage, "read": read}, ROUNDS)
        print(
            f"{size:4} px  plain loop {count / seconds['loop']:7.0f} images/s  stage {count / seconds['stage']:7.0f}  "
            f"ratio {seconds['loop'] / seconds['stage']:.2f}  reading alone {seconds['read'] / seconds['stage']:.1%}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
