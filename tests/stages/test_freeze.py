"""Frozen parts stay as they are to the last bit, statistics included, and the others learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from architectures.alnet import ALNet
from architectures.projected import Projected
from compress.contracts import BadInput, Data, EmbeddingSpec, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.stages._graph import TrainingGraph
from compress.stages.train import Train
from tests._stages import with_options

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
TINY = ALNet(stem_stride=2, widths=(16,), strides=(2,), expansions=(1,), head_width=32)


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(Digits(test_share=0.96, validation_share=0.1), seed=0)


def fresh(data: Data) -> Model:
    torch.manual_seed(0)
    network: Any = Projected(trunk=TINY, dim=8).build(len(data.classes))
    return Model(Projected(trunk=TINY, dim=8), network, data.classes, data.preprocess, EmbeddingSpec(8))


def changed(data: Data, folder: Path, **options: Any) -> set[str]:
    """The tensors that are others after two epochs."""
    before = {name: tensor.clone() for name, tensor in fresh(data).network.state_dict().items()}
    stage = with_options(
        Train, epochs=2, batch_size=32, loss=CrossEntropy(), clip_norm=1.0, bn_sparsity=1e-4, **options
    )
    folder.mkdir()
    network = stage.run(fresh(data), data, seed=0, scratch=folder).network
    assert all(p.requires_grad for p in network.parameters())
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def test_frozen_statistics_stay_and_are_used_while_all_weights_learn(data: Data, tmp_path: Path) -> None:
    everything = {*fresh(data).network.state_dict()}
    statistics = {name for name in everything if name.rpartition(".")[2] in _STATISTICS}
    assert len(statistics) >= 9
    assert changed(data, tmp_path / "fixed", freeze_statistics=True) == everything - statistics
    graph = TrainingGraph(fresh(data), with_options(Train, loss=CrossEntropy()).training.augmentation(), CrossEntropy())
    graph.freeze_statistics()
    x = torch.randn(4, 3, 28, 28)
    assert torch.equal(graph.eval().network.embed(x), graph.train().network.embed(x))
    graph.fixed = ()
    assert not torch.equal(graph.eval().network.embed(x), graph.train().network.embed(x))


def test_frozen_parts_stay_and_the_others_learn(data: Data, tmp_path: Path) -> None:
    everything = {*fresh(data).network.state_dict()}
    own = {name for name in everything if not name.startswith("trunk.")}
    assert own == {"projection.weight", "projection.bias", "classifier.weight", "classifier.bias"}
    assert changed(data, tmp_path / "frozen", freeze=("trunk",)) == own
    assert changed(data, tmp_path / "whole") == everything
    stem = {name for name in everything if name.startswith("trunk.stem.")}
    assert len(stem) > 5
    assert changed(data, tmp_path / "stem", freeze=("trunk.stem", "classifier")) == everything - stem - {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (
            ("trnk",),
            r"freeze: the network has no part 'trnk'; did you mean 'trunk'\? \(it has trunk, projection",
        ),
        (("",), "has no part ''"),
        (("trunk", "projection", "classifier"), "trunk, projection, classifier leave nothing to train"),
    ],
)
def test_parts_that_cannot_be_frozen_are_refused(data: Data, freeze: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        with_options(Train, loss=CrossEntropy(), freeze=freeze).check(fresh(data))
    with_options(Train, loss=CrossEntropy(), freeze=("trunk",)).check(fresh(data))
