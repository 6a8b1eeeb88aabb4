"""The ratio for a latency, against every ratio there is; the measurement itself is a made one here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from architectures import complexity
from architectures.alnet import ALNet
from compress.contracts import BadInput, EmbeddingSpec, Model, Preprocess
from compress.pruning.latency import STEPS, least_ratio
from compress.stages.prune import Prune

SIZE = (32, 32)


@pytest.mark.parametrize("limit", [0.9, 0.61, 0.5, 0.2])
def test_the_least_of_all_ratios(limit: float) -> None:
    most = 0.9375
    ratios = [most * step / STEPS for step in range(1, STEPS + 1)]
    want = next(ratio for ratio in ratios if 1 - ratio <= limit)
    assert least_ratio(lambda ratio: 1 - ratio, limit, most, "latency: x") == pytest.approx(want, abs=2e-6)


def test_out_of_reach() -> None:
    with pytest.raises(BadInput, match=r"^latency: 0.05: 0.1 is the least that pruning reached \(ratio 0.900\)"):
        least_ratio(lambda ratio: 1 - ratio, 0.05, 0.9, "latency: 0.05")


@pytest.fixture(scope="module")
def model() -> Model:
    architecture = ALNet(stem_stride=2, widths=(32, 64), strides=(2, 1), expansions=(2, 6), head_width=64)
    torch.manual_seed(0)
    network: Any = architecture.build(0)
    return Model(architecture, network, (), Preprocess(SIZE), EmbeddingSpec(network.embedding_dim))


def macs(models: Sequence[Model]) -> list[float]:
    """Stands for milliseconds: falls with every channel, and gives the same on every machine."""
    return [float(complexity(each.network, SIZE).macs) for each in models]


def test_the_stage_finds_a_ratio_and_then_measures_nothing(model: Model) -> None:
    stage = Prune(latency=0.6, latency_format="torchscript")
    assert stage.measures() == "torchscript" and stage.check(model) is model
    found = stage.measured(model, None, macs)  # type: ignore[arg-type]
    assert found.measures() is None and found.ratio is not None
    (whole,) = macs([model])
    (left,) = macs([found.check(model)])
    (more,) = macs([Prune(ratio=max(found.ratio - 0.02, 0.0)).check(model)])
    assert left <= 0.6 * whole < more
    assert Prune(**{name: getattr(found, name) for name in found.options()}) == found
    again = stage.measured(model, None, macs)  # type: ignore[arg-type]
    assert again == found


def test_milliseconds_instead_of_a_share(model: Model) -> None:
    (whole,) = macs([model])
    share, number = (Prune(latency=limit).measured(model, None, macs) for limit in (0.5, 0.5 * whole))  # type: ignore[arg-type]
    assert share.ratio == number.ratio


def test_a_target_that_pruning_cannot_reach(model: Model) -> None:
    with pytest.raises(BadInput, match=r"^latency: 0.0001: [0-9.e-]+ is the least that pruning reached"):
        Prune(latency=0.0001).measured(model, None, macs)  # type: ignore[arg-type]


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(BadInput, match="macs and latency: give one of them"):
        Prune(macs=0.5, latency=0.5)
    with pytest.raises(BadInput, match="'tflight' is not one of the exporters"):
        Prune(latency=0.5, latency_format="tflight")
