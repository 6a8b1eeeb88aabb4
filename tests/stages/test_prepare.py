"""Training sets a network's clusters from training images before the first step, and never again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from architectures.alnet import ALNet
from architectures.netvlad import NetVLAD
from compress.contracts import EmbeddingSpec, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.stages.train import Train
from tests._stages import with_options

TINY = ALNet(stem_stride=2, widths=(16,), strides=(2,), expansions=(1,), head_width=16)


def test_clusters_are_set_from_training_images_once(tmp_path: Path) -> None:
    data = load_data(Digits(test_share=0.97), seed=0)
    architecture = NetVLAD(trunk=TINY, clusters=4)
    torch.manual_seed(0)
    network: Any = architecture.build(len(data.classes))
    fresh = network.pool.centres.detach().clone()
    model = Model(architecture, network, data.classes, data.preprocess, EmbeddingSpec(64, distance="cosine"))
    still = with_options(
        Train, epochs=1, batch_size=32, lr=1e-9, weight_decay=0.0, loss=CrossEntropy(), freeze=("trunk",)
    )
    centres = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        model = still.run(model, data, seed=0, scratch=tmp_path / name)
        centres.append(model.network.pool.centres.detach().clone())  # type: ignore[union-attr,operator]
        network.trunk.requires_grad_(True)
        for weights in network.trunk.parameters():  # other features, which would have other clusters
            weights.data.mul_(-1)
    assert not torch.allclose(centres[0], fresh, atol=0.1)
    assert torch.allclose(centres[1], centres[0], atol=1e-6)
