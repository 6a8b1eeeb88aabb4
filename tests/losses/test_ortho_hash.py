"""OrthoHash's loss in plain loops and by hand; what it draws codes to; networks it cannot train."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from architectures import create_model
from compress.contracts import BadInput
from compress.losses.cross_entropy import CrossEntropy
from compress.losses.ortho_hash import OrthoHash


def slow_loss(cosines: np.ndarray, labels: np.ndarray, scale: float, margin: float) -> float:
    losses = []
    for row, label in zip(cosines.tolist(), labels.tolist(), strict=True):
        scores = [scale * (cosine - (margin if number == label else 0)) for number, cosine in enumerate(row)]
        losses.append(-math.log(math.exp(scores[label]) / sum(math.exp(score) for score in scores)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("scale", "margin"), [(8.0, 0.2), (1.0, 0.0), (20.0, 0.5)])
def test_it_is_the_plain_loop(scale: float, margin: float) -> None:
    random = np.random.default_rng(0)
    cosines, labels = random.uniform(-1, 1, (12, 7)), random.integers(0, 7, 12)
    loss = OrthoHash(scale=scale, margin=margin).build(32, 7)
    value = float(loss(torch.zeros(12, 32), torch.from_numpy(cosines), torch.from_numpy(labels)))
    assert value == pytest.approx(slow_loss(cosines, labels, scale, margin), rel=1e-9)
    assert value != pytest.approx(slow_loss(cosines, np.roll(labels, 1), scale, margin), rel=1e-3)


def test_one_value_worked_by_hand() -> None:
    """Cosines 1 and 0, scale 8, margin 0.2: scores 6.4 and 0, so log(1 + exp(-6.4))."""
    loss = OrthoHash().build(32, 2)
    value = float(loss(torch.zeros(1, 32), torch.tensor([[1.0, 0.0]]), torch.tensor([0])))
    assert value == pytest.approx(math.log1p(math.exp(-6.4)), rel=1e-4)


def test_activations_alone_are_driven_to_their_classs_code() -> None:
    """Nothing but the loss moves them; half of the bits are wrong at first."""
    classifier = create_model("deep_hash", 10, bits=32, classifier="orthogonal", trunk="alnet").classifier
    torch.manual_seed(0)
    labels = torch.arange(20) % 10
    scores = torch.randn(20, 32, requires_grad=True)
    loss = OrthoHash().build(32, 10)
    optimizer = torch.optim.SGD([scores], lr=20)
    wrong = _wrong_bits(scores, classifier, labels)  # type: ignore[arg-type]
    for _ in range(500):
        optimizer.zero_grad()
        activations = scores.sigmoid()
        loss(activations, classifier(activations), labels).backward()  # type: ignore[operator]
        optimizer.step()
    assert wrong > 0.4
    assert _wrong_bits(scores, classifier, labels) < 0.01  # type: ignore[arg-type]


def _wrong_bits(scores: torch.Tensor, classifier: torch.nn.Module, labels: torch.Tensor) -> float:
    codes: torch.Tensor = classifier.codes[labels]  # type: ignore[index,assignment]
    return float(((scores > 0) != (codes > 0)).float().mean())


def test_logits_that_are_no_cosines_are_refused() -> None:
    for network in (create_model("alnet", 3), create_model("deep_hash", 3), create_model("deep_hash")):
        with pytest.raises(BadInput, match=r"ortho_hash needs logits that are cosines.* model\.classifier: orthogonal"):
            OrthoHash().check(network)
        CrossEntropy().check(network)
    OrthoHash().check(create_model("deep_hash", 3, classifier="orthogonal"))
