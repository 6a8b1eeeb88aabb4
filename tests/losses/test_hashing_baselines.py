"""DLBH and SSDH in plain loops and by hand; what their terms draw codes to; networks they cannot train."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from architectures import create_model
from compress.contracts import BadInput, Loss
from compress.losses.dlbh import Dlbh
from compress.losses.ssdh import Ssdh

HASH = {"trunk": {"mobilenet_v1": {"width": 0.1}}, "bits": 8}


def slow_loss(
    codes: np.ndarray, logits: np.ndarray, labels: np.ndarray, alpha: float, beta: float, gamma: float
) -> float:
    total = 0.0
    for code, scores, label in zip(codes.tolist(), logits.tolist(), labels.tolist(), strict=True):
        total -= alpha * (scores[label] - math.log(sum(math.exp(score) for score in scores)))
        total -= beta * sum((activation - 0.5) ** 2 for activation in code) / len(code)
        total += gamma * (sum(code) / len(code) - 0.5) ** 2
    return total / len(labels)


@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        (Dlbh(), (1.0, 0.0, 0.0)),
        (Ssdh(), (1.0, 1 / 64, 1 / 64)),
        (Ssdh(binary=1, balance=1), (1.0, 1.0, 1.0)),
        (Ssdh(classification=0.5, binary=2.0, balance=3.0), (0.5, 2.0, 3.0)),
    ],
)
def test_they_are_the_plain_loops(loss: Loss, weights: tuple[float, float, float]) -> None:
    random = np.random.default_rng(0)
    codes, logits, labels = random.uniform(0, 1, (12, 8)), random.normal(size=(12, 5)), random.integers(0, 5, 12)
    value = float(loss.build(8, 5)(*(torch.from_numpy(each) for each in (codes, logits, labels))))
    assert value == pytest.approx(slow_loss(codes, logits, labels, *weights), rel=1e-9)
    assert value != pytest.approx(slow_loss(codes, logits, np.roll(labels, 1), *weights), rel=1e-3)
    # Balance is within an image: over a bit's images it would be another number.
    assert float(
        Ssdh(binary=1, balance=1).build(8, 5)(*(torch.from_numpy(each) for each in (codes, logits, labels)))
    ) != pytest.approx(slow_loss(codes, logits, labels, 1, 1, 0) + float(((codes.mean(0) - 0.5) ** 2).mean()), rel=1e-6)


def test_one_value_worked_by_hand() -> None:
    """Activations (1, 0.5), equal logits of two classes: log 2, - (1/4 + 0) / 2, + (1/4)^2."""
    arguments = torch.tensor([[1.0, 0.5]]), torch.zeros(1, 2), torch.tensor([0])
    assert float(Ssdh(binary=1, balance=1).build(2, 2)(*arguments)) == pytest.approx(math.log(2) - 1 / 8 + 1 / 16)
    assert float(Ssdh().build(2, 2)(*arguments)) == pytest.approx(math.log(2) - 1 / 8 / 64 + 1 / 16 / 64)
    assert float(Dlbh().build(2, 2)(*arguments)) == pytest.approx(math.log(2))


def test_the_default_weights_are_those_of_the_authors_layers() -> None:
    """K1_EuclideanLoss: sum (a - 1/2)^2 / (2 count num), count = N K; at their batch of 32 images."""
    codes, labels = np.random.default_rng(0).uniform(0, 1, (32, 48)), torch.zeros(32, dtype=torch.int64)
    value = float(Ssdh(classification=0, balance=0).build(48, 2)(torch.from_numpy(codes), torch.zeros(32, 2), labels))
    assert value == pytest.approx(-((codes - 0.5) ** 2).sum() / (2 * codes.size * 32))


def test_the_terms_alone_make_codes_binary_and_balanced() -> None:
    """Without ``binary`` activations stay near the threshold, without ``balance`` most bits are 1."""
    torch.manual_seed(0)
    start = torch.randn(20, 16) + 0.5

    def margin_and_bias(binary: float, balance: float) -> tuple[float, float]:
        scores = start.clone().requires_grad_()
        loss = Ssdh(classification=0, binary=binary, balance=balance).build(16, 2)
        optimizer = torch.optim.SGD([scores], lr=500)
        for _ in range(200):
            optimizer.zero_grad()
            loss(scores.sigmoid(), torch.zeros(20, 2), torch.zeros(20, dtype=torch.int64)).backward()
            optimizer.step()
        codes = scores.detach().sigmoid()
        return float((codes - 0.5).abs().mean()), float((codes.mean(dim=1) - 0.5).abs().mean())

    (both, balanced), (binary, lopsided), (graded, _) = (margin_and_bias(*terms) for terms in ((1, 4), (1, 0), (0, 1)))
    assert min(both, binary) > 0.4 > 0.3 > graded
    assert balanced < lopsided / 2


@pytest.mark.parametrize("loss", [Dlbh(), Ssdh()])
def test_other_networks_are_refused(loss: Loss) -> None:
    for network in (
        create_model("mobilenet_v1", 3, width=0.1),
        create_model("deep_hash", 3, classifier="orthogonal", **HASH),
    ):
        with pytest.raises(BadInput, match=r"loss: (dlbh|ssdh) needs a linear classifier on activations in \[0, 1\]"):
            loss.check(network)
    loss.check(create_model("deep_hash", 3, **HASH))
