"""Every loss of pytorch-metric-learning by its name teaches, gets its arguments and keeps what it remembers."""

from __future__ import annotations

import inspect

import pytest
import torch
from pytorch_metric_learning import losses, miners
from torch import nn

from compress.contracts import BadInput, Loss
from compress.losses.metric_learning import _REASONS, MetricLearning
from compress.options import BadOptions, build_named
from tests.losses.test_every_loss import CLASSES, DIM, N, problem

NAMES = [
    name
    for name, kind in vars(losses).items()
    if inspect.isclass(kind) and issubclass(kind, losses.BaseMetricLossFunction) and name not in _REASONS
]
NAMES.remove("BaseMetricLossFunction")
REQUIRED = {"RankedListLoss": {"margin": 1.0, "Tn": 10}, "ManifoldLoss": {"K": 4}}
LABELS = torch.arange(N) % CLASSES


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_it_teaches(name: str) -> None:
    torch.manual_seed(0)
    loss = MetricLearning(loss=name, arguments=REQUIRED.get(name, {})).build(DIM, CLASSES)
    head = nn.Linear(DIM, CLASSES)

    def seeded(embeddings: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)  # some draw random pairs
        value: torch.Tensor = loss(embeddings, head(embeddings), LABELS)
        return value

    assert problem(seeded) is None


def test_there_are_more_than_thirty_and_the_others_say_why() -> None:
    assert len(NAMES) >= 30
    for name, reason in _REASONS.items():
        with pytest.raises(BadInput, match=reason):
            MetricLearning(loss=name).build(DIM, CLASSES)


def test_it_is_the_library_s_own_value() -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(N, DIM)
    torch.manual_seed(0)
    ours = MetricLearning(loss="ProxyAnchorLoss", arguments={"margin": 0.3, "alpha": 8}).build(DIM, CLASSES)
    torch.manual_seed(0)
    theirs = losses.ProxyAnchorLoss(CLASSES, DIM, margin=0.3, alpha=8)
    assert torch.equal(ours(embeddings, None, LABELS), theirs(embeddings, LABELS))
    mined = MetricLearning(
        loss="TripletMarginLoss", miner="TripletMarginMiner", miner_arguments={"type_of_triplets": "hard"}
    ).build(DIM, CLASSES)
    picked = miners.TripletMarginMiner(type_of_triplets="hard")(embeddings, LABELS)
    expected = losses.TripletMarginLoss()(embeddings, LABELS, picked)
    assert torch.equal(mined(embeddings, None, LABELS), expected)
    assert not torch.equal(expected, losses.TripletMarginLoss()(embeddings, LABELS))


def test_what_it_remembers_between_batches_survives_a_kill() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, N, DIM)
    whole, killed, resumed = (MetricLearning(loss="DynamicSoftMarginLoss").build(DIM, CLASSES) for _ in range(3))
    whole(first, None, LABELS)
    killed(first, None, LABELS)
    resumed.load_state_dict(killed.state_dict())
    assert torch.equal(resumed(second, None, LABELS), whole(second, None, LABELS))
    fresh = MetricLearning(loss="DynamicSoftMarginLoss").build(DIM, CLASSES)
    assert not torch.equal(fresh(second, None, LABELS), whole(second, None, LABELS))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "ProxyAnchor"}, "did you mean 'ProxyAnchorLoss'?"),
        (
            {"loss": "ProxyAnchorLoss", "arguments": {"margn": 1}},
            "arguments.margn: unknown key; did you mean 'margin'?",
        ),
        ({"loss": "RankedListLoss"}, "arguments: RankedListLoss cannot be made with {}"),
        ({"loss": "ProxyAnchorLoss", "arguments": {"num_classes": 3}}, "arguments.num_classes: unknown key"),
        ({"miner": "HardMiner"}, "miner: 'HardMiner' is not one of"),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, object], words: str) -> None:
    loss = build_named(Loss, {"metric_learning": options}, "train.loss")
    with pytest.raises(BadInput) as caught:
        loss.check(nn.Identity())  # type: ignore[arg-type]
    assert words in str(caught.value)
    with pytest.raises(BadOptions, match="there is no miner"):
        build_named(Loss, {"metric_learning": {"miner_arguments": {"margin": 1}}}, "train.loss")
