"""Each option of a training changes what it says, and with all of them a killed training ends with the same weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.contracts import BadInput, Data, EmbeddingSpec, ImageSet, Model
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.losses.cross_entropy import CrossEntropy
from compress.losses.triplet import Triplet
from compress.options import BadOptions
from compress.stages._augment import step_generator
from compress.stages._average import Average
from compress.stages._fit import learning_rate
from compress.stages._graph import TrainingGraph
from compress.stages._mixing import Mixing
from compress.stages._policies import AutoAugment
from compress.stages.train import Train
from compress.system import history
from tests._stages import with_options
from tests.stages.test_train import SMALL, equal, train, weights

PLAIN = {"epochs": 1, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "lr": 0.1}


@pytest.fixture(scope="module")
def data() -> Data:
    """60 digits to train on and 40 to choose with."""
    whole = load_data(Digits(), seed=0)

    def few(images: ImageSet, count: int) -> ImageSet:
        rows = np.linspace(0, len(images) - 1, count).astype(int)
        return ImageSet(images.images[rows], images.labels[rows], tuple(images.ids[row] for row in rows))

    return replace(whole, train=few(whole.train, 60), validation=few(whole.validation, 40))


def fresh(data: Data) -> Model:
    torch.manual_seed(0)
    return Model(SMALL, SMALL.build(len(data.classes)), data.classes, data.preprocess, EmbeddingSpec(64))


def trained(data: Data, folder: Path, **options: Any) -> Model:
    folder.mkdir(parents=True, exist_ok=True)
    return train(**options).run(fresh(data), data, seed=0, scratch=folder)


def change(before: Model, after: Model) -> dict[str, torch.Tensor]:
    parameters = dict(before.network.named_parameters())
    return {name: (tensor - parameters[name]).detach() for name, tensor in after.network.named_parameters()}


def one_batch(data: Data) -> Data:
    return replace(data, train=ImageSet(data.train.images[:20], data.train.labels[:20], data.train.ids[:20]))


def test_the_optimizer_is_the_one_of_torch(data: Data, tmp_path: Path) -> None:
    """The first step of AdamW, computed from the gradient that one step of plain SGD with rate 1 shows."""
    data, before = one_batch(data), fresh(data)
    gradients = change(before, trained(data, tmp_path / "sgd", **{**PLAIN, "lr": 1.0}))
    options = {**PLAIN, "lr": 0.01, "weight_decay": 0.1, "momentum": 0.9}
    adam = change(before, trained(data, tmp_path / "adam", optimizer="AdamW", **options))
    more = change(before, trained(data, tmp_path / "eps", optimizer="AdamW", optimizer_options={"eps": 0.1}, **options))
    for name, start in before.network.named_parameters():
        gradient = -gradients[name].double()
        for found, eps in ((adam, 1e-8), (more, 0.1)):
            expected = -0.01 * (gradient / (gradient.abs() + eps) + 0.1 * start.detach().double())
            clear = gradient.abs() > 1e-5
            assert torch.allclose(found[name].double()[clear], expected[clear], rtol=1e-2, atol=1e-6), name


def test_a_part_has_its_own_learning_rate(data: Data, tmp_path: Path) -> None:
    data, before = one_batch(data), fresh(data)
    whole = change(before, trained(data, tmp_path / "whole", **{**PLAIN, "lr": 0.2}))
    parts = change(before, trained(data, tmp_path / "parts", **{**PLAIN, "lr": {"classifier": 0.02, "rest": 0.2}}))
    default = change(before, trained(data, tmp_path / "default", **{**PLAIN, "lr": {"classifier": 0.02}}))
    for name, moved in whole.items():
        factor = 0.1 if name.startswith("classifier.") else 1
        assert torch.allclose(parts[name], factor * moved, atol=1e-6), name
        assert torch.allclose(default[name], (0.1 if factor < 1 else 0.5) * moved, atol=1e-6), name
    assert any(name.startswith("classifier.") for name in whole)


def test_the_rate_rises_over_the_warm_up(data: Data, tmp_path: Path) -> None:
    rates = [learning_rate("constant", 1.0, step, 10, 4) for step in range(10)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, *[1.0] * 6])
    later = [learning_rate("cosine", 1.0, step, 14, 4) for step in range(4, 14)]
    assert later == pytest.approx([learning_rate("cosine", 1.0, step, 10) for step in range(10)])
    model = trained(data, tmp_path, **{**PLAIN, "epochs": 2, "warmup_epochs": 1})
    assert [line["lr"] for line in model.history] == pytest.approx([0.1 * 3 / 4, 0.1])  # 3 batches per epoch


def test_gradients_of_several_batches_are_one_step(data: Data, tmp_path: Path) -> None:
    """Two batches of 10 are one of 20, where batch normalisation keeps its statistics."""
    options = {**PLAIN, "freeze_statistics": True, "clip_norm": 1.0}
    whole = trained(data, tmp_path / "whole", **{**options, "batch_size": 20})
    parts = trained(data, tmp_path / "parts", **{**options, "batch_size": 10, "accumulate": 2})
    alone = trained(data, tmp_path / "alone", **{**options, "batch_size": 10})
    for name, tensor in weights(whole).items():
        assert torch.allclose(weights(parts)[name], tensor, atol=1e-5), name
    assert not all(torch.allclose(weights(alone)[name], tensor, atol=1e-5) for name, tensor in weights(whole).items())


def test_the_last_step_takes_the_batches_that_remain(data: Data, tmp_path: Path) -> None:
    """Of three batches, with a step after two, the third makes a step of its own, with its whole gradient."""
    options = {**PLAIN, "freeze_statistics": True, "batch_size": 20}
    two = trained(data, tmp_path / "two", **{**options, "accumulate": 2})
    three = trained(data, tmp_path / "three", **{**options, "accumulate": 3})
    many = trained(data, tmp_path / "many", **{**options, "accumulate": 50})
    assert equal(three, many)
    assert not equal(two, three)


def test_the_average_of_the_weights_is_kept(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = [{name: t.clone() for name, t in weights(fresh(data)).items()}]
    update = Average.update

    def watched(self: Average, network: nn.Module) -> None:
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        update(self, network)

    monkeypatch.setattr(Average, "update", watched)
    model = trained(data, tmp_path, **{**PLAIN, "epochs": 2, "ema": 0.3})
    assert len(seen) == 7
    name = "classifier.weight"
    average = seen[0][name].double()
    for number, step in enumerate(seen[1:], start=1):
        keep = min(0.3, (1 + number) / (10 + number))
        average = keep * average + (1 - keep) * step[name].double()
    at_the_end = torch.allclose(weights(model)[name].double(), average, atol=1e-6)
    assert at_the_end or model.history[0]["validation_accuracy"] > model.history[1]["validation_accuracy"]
    assert not torch.equal(weights(model)[name], seen[-1][name])
    assert not torch.equal(weights(model)[name], seen[3][name])


def test_it_stops_when_nothing_gets_better(data: Data, tmp_path: Path) -> None:
    still = {**PLAIN, "lr": 1e-12, "epochs": 9, "freeze_statistics": True}
    assert len(trained(data, tmp_path / "stopped", **still, patience=2).history) == 3
    assert len(trained(data, tmp_path / "all", **still).history) == 9


def test_mixed_images_are_learnt_by_both_labels() -> None:
    images = torch.rand(6, 3, 8, 8)
    mixed, how = Mixing(mixup=1.0)(images, step_generator(0, 0))
    for row, other in enumerate(how.partners.tolist()):
        assert torch.allclose(mixed[row], how.share * images[row] + (1 - how.share) * images[other])
    assert how.loss(torch.tensor(1.0), torch.tensor(3.0)) == pytest.approx(how.share + 3 * (1 - how.share))
    shares = []
    for step in range(20):
        mixed, how = Mixing(cutmix=1.0)(images, step_generator(0, step))
        own = (mixed == images).all(1).flatten(1).float().mean(1)
        pasted = how.partners != torch.arange(6)
        assert np.allclose(own[pasted], how.share, atol=1e-6)
        shares.append(how.share)
    assert len(set(shares)) > 5 and min(shares) < 0.7


def test_the_graph_mixes_in_training_alone(data: Data) -> None:
    model, images = fresh(data), torch.from_numpy(np.array(data.train.images[:8]))
    labels = torch.from_numpy(data.train.labels[:8])
    seen: list[torch.Tensor] = []

    class Loss(nn.Module):
        def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            seen.append(labels)
            return logits.sum() * 0 + len(seen)

    graph = TrainingGraph(model, train().training.augmentation(), CrossEntropy(), Mixing(mixup=1.0))
    graph.loss = Loss()
    graph.train()
    loss, _ = graph(images, labels, step_generator(0, 5))
    _, how = Mixing(mixup=1.0)(torch.zeros(8, 3, 2, 2), step_generator(0, 5))
    assert torch.equal(seen[0], labels) and torch.equal(seen[1], labels[how.partners])
    assert float(loss) == pytest.approx(how.share + 2 * (1 - how.share))
    graph.eval()
    assert torch.equal(graph(images, labels)[0], graph(images, labels)[0])
    assert len(seen) == 2


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_automatic_augmentation_is_torchvisions(policy: Any, data: Data) -> None:
    images = torch.from_numpy(np.array(data.train.images[:6]))
    images = images.expand(-1, -1, -1, 3) if images.shape[-1] == 1 else images
    augment = AutoAugment(policy)
    before = torch.random.get_rng_state()
    first, again, other = (augment(images, step_generator(0, step)) for step in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.dtype == torch.uint8 and first.shape == images.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other) and not torch.equal(first, images)


@pytest.mark.parametrize(
    "options",
    [
        {"auto_augment": "trivial"},
        {"auto_augment": "rand"},
        {"mixup": 0.4},
        {"cutmix": 1.0},
        {"ema": 0.5},
        {"precision": "bf16-mixed"},
    ],
    ids=lambda options: "-".join(options) if isinstance(options, Mapping) else None,
)
def test_it_is_not_ignored(options: dict[str, Any], data: Data, tmp_path: Path) -> None:
    data = one_batch(data)
    assert not equal(trained(data, tmp_path / "a", **PLAIN, **options), trained(data, tmp_path / "b", **PLAIN))


@pytest.mark.nightly
def test_the_network_is_compiled(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch.compile's backend that only traces: the same weights, and every batch went through its graphs."""
    data, graphs = one_batch(data), 0

    def counting(graph: torch.fx.GraphModule, _: Any) -> Any:
        def called(*inputs: Any) -> Any:
            nonlocal graphs
            graphs += 1
            return graph(*inputs)

        return called

    plain = trained(data, tmp_path / "plain", **PLAIN)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counting))
    compiled = trained(data, tmp_path / "compiled", **PLAIN, compile=True)
    assert graphs >= 2  # one batch to train on, one to validate
    for name, tensor in weights(plain).items():
        assert torch.allclose(weights(compiled)[name], tensor, atol=1e-5), name


def test_smoothed_labels_spread_a_share_of_the_target() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]]), torch.tensor([0, 2])
    log = logits.log_softmax(1)
    own = -(log[0, 0] + log[1, 2]) / 2
    everywhere = -log.mean()
    for share in (0.0, 0.3):
        loss = CrossEntropy(label_smoothing=share).build(4, 3)(torch.zeros(2, 4), logits, labels)
        assert float(loss) == pytest.approx(float((1 - share) * own + share * everywhere))


EVERYTHING = {
    "epochs": 4,
    "batch_size": 12,
    "optimizer": "AdamW",
    "optimizer_options": {"betas": (0.8, 0.95)},
    "lr": {"classifier": 0.004, "rest": 0.002},
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "accumulate": 2,
    "ema": 0.9,
    "patience": 3,
    "auto_augment": "trivial",
    "mixup": 0.3,
    "cutmix": 0.3,
}


def test_killed_with_every_option_it_ends_with_the_same_weights(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[int] = []
    with history.kept(lambda lines: recorded.append(len(lines))):
        whole = trained(data, tmp_path / "whole", **EVERYTHING)
    assert recorded == list(range(1, len(whole.history) + 1))
    calls = 0

    def killed(*arguments: Any, **keywords: Any) -> float:
        nonlocal calls
        calls += 1
        if calls > 2 * 5 * 2 + 3:  # two groups, five batches per epoch: in the third epoch
            raise KeyboardInterrupt
        return learning_rate(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr("compress.stages._fit.learning_rate", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(data, tmp_path / "parts", **EVERYTHING)
    state = torch.load(tmp_path / "parts/state.pt", weights_only=True)
    assert state["progress"]["epoch"] == 2 and state["average"]["updates"] == 6
    resumed = trained(data, tmp_path / "parts", **EVERYTHING)
    assert equal(whole, resumed)
    assert whole.history == resumed.history


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": "AdmW"}, "did you mean 'AdamW'?"),
        ({"optimizer": "LBFGS"}, "LBFGS cannot train here"),
        ({"optimizer": "AdamW", "momentum": 0.8}, "momentum: AdamW has none"),
        ({"optimizer_options": {"nestorov": True}}, "did you mean 'nesterov'?"),
        ({"optimizer": "AdamW", "optimizer_options": {"betas": (2.0, 0.9)}}, "optimizer_options: AdamW cannot be made"),
        ({"lr": {"clasifier": 0.1}}, "lr.clasifier: the network has no part 'clasifier'; did you mean 'classifier'?"),
        ({"lr": {"classifier": -0.1}}, "lr"),
        ({"mixup": 0.2, "loss": Triplet()}, "mixup: triplet compares whole images"),
        ({"warmup_epochs": 1.0, "schedule": "one_cycle"}, "one_cycle has its own rise"),
        ({"warmup_epochs": 9.0, "schedule": "cosine"}, "only 3 epochs"),
        ({"ema": 1.0}, "ema: 1.0 is wrong"),
        ({"accumulate": 0}, "accumulate: 0 is wrong"),
        ({"auto_augment": "rend"}, "auto_augment: 'rend' is wrong"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], words: str, data: Data) -> None:
    model = fresh(data)
    if isinstance(options.get("loss"), Triplet):
        model = replace(model, embedding=EmbeddingSpec(64, distance="cosine"))
    with pytest.raises((BadInput, BadOptions)) as caught:
        train(**options).check(model)
    assert words in str(caught.value)


def test_defaults_train_as_before() -> None:
    options = with_options(Train).options()
    assert (options["optimizer"], options["lr"], options["ema"], options["accumulate"]) == ("SGD", 0.1, None, 1)
