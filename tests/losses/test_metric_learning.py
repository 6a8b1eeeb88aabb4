"""Contrastive, triplet and ArcFace losses in plain loops and by hand; which pairs mining takes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from compress.contracts import Loss, MissingTool
from compress.losses.arcface import ArcFace
from compress.losses.contrastive import Contrastive
from compress.losses.triplet import Triplet
from compress.system import environment

DIM = 5


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of any length, float64 [13, 5], in four classes, one of which has a single image."""
    random = np.random.default_rng(3)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3])
    return random.normal(size=(4, DIM))[labels] + random.normal(0, 1, (13, DIM)), labels


def distances(embeddings: np.ndarray) -> np.ndarray:
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.array([[math.dist(one, other) for other in unit] for one in unit])


def value(loss: Loss, embeddings: np.ndarray, labels: np.ndarray) -> float:
    module = loss.build(DIM, 4)
    return float(module(torch.from_numpy(embeddings), torch.zeros(len(labels), 4), torch.from_numpy(labels)))


def mean(losses: list[float]) -> float:
    """Over those above zero."""
    losing = [loss for loss in losses if loss > 0]
    return sum(losing) / len(losing) if losing else 0.0


def own(labels: np.ndarray, a: int) -> list[int]:
    return [i for i in range(len(labels)) if labels[i] == labels[a] and i != a]


def others(labels: np.ndarray, a: int) -> list[int]:
    return [i for i in range(len(labels)) if labels[i] != labels[a]]


def slow_contrastive(d: np.ndarray, labels: np.ndarray, margin: float, mining: str) -> float:
    positives, negatives = [], []
    for a in range(len(labels)):
        near, far = own(labels, a), others(labels, a)
        if mining == "hard":
            if not near:
                continue
            near, far = [max(near, key=lambda i: d[a, i])], [min(far, key=lambda i: d[a, i])]
        positives += [d[a, i] ** 2 / 2 for i in near]
        negatives += [max(margin - d[a, i], 0) ** 2 / 2 for i in far]
    return mean(positives) + mean(negatives)


def slow_triplet(d: np.ndarray, labels: np.ndarray, margin: float, mining: str) -> float:
    losses = []
    for a in range(len(labels)):
        triplets = list(itertools.product(own(labels, a), others(labels, a)))
        if mining == "semihard":
            triplets = [(p, n) for p, n in triplets if d[a, p] < d[a, n] <= d[a, p] + margin]
        elif mining == "hard" and triplets:
            triplets = [(max(own(labels, a), key=lambda i: d[a, i]), min(others(labels, a), key=lambda i: d[a, i]))]
        elif mining == "easy_positive" and triplets:
            p = min(own(labels, a), key=lambda i: d[a, i])
            farther = [n for n in others(labels, a) if d[a, n] > d[a, p]]
            triplets = [(p, min(farther, key=lambda i: d[a, i]))] if farther else []
        losses += [max(d[a, p] - d[a, n] + margin, 0) for p, n in triplets]
    return mean(losses)


@pytest.mark.parametrize("mining", ["all", "hard"])
@pytest.mark.parametrize("margin", [0.7, 1.3])
def test_contrastive_is_the_plain_loop(batch: tuple[np.ndarray, np.ndarray], margin: float, mining: str) -> None:
    embeddings, labels = batch
    found = value(Contrastive(margin=margin, mining=mining), embeddings, labels)  # type: ignore[arg-type]
    assert found == pytest.approx(slow_contrastive(distances(embeddings), labels, margin, mining), rel=1e-5)
    wrong = "hard" if mining == "all" else "all"
    assert found != pytest.approx(slow_contrastive(distances(embeddings), labels, margin, wrong), rel=1e-2)


@pytest.mark.parametrize("mining", ["all", "semihard", "hard", "easy_positive"])
def test_triplet_is_the_plain_loop(batch: tuple[np.ndarray, np.ndarray], mining: str) -> None:
    embeddings, labels = batch
    found = value(Triplet(margin=0.3, mining=mining), embeddings, labels)  # type: ignore[arg-type]
    slow = {
        m: slow_triplet(distances(embeddings), labels, 0.3, m) for m in ("all", "semihard", "hard", "easy_positive")
    }
    assert found == pytest.approx(slow.pop(mining), rel=1e-5)
    assert all(found != pytest.approx(other, rel=1e-2) for other in slow.values())


def test_values_worked_by_hand() -> None:
    """Unit vectors at 0, 60 and 180 degrees, the first two of one class: distances 1, 2 and the square root of 3."""
    embeddings = np.array([[2.0, 0, 0, 0, 0], [0.5, math.sqrt(3) / 2, 0, 0, 0], [-3, 0, 0, 0, 0]])
    labels = np.array([0, 0, 1])
    near = 0.5 * (1.9 - math.sqrt(3)) ** 2
    assert value(Contrastive(margin=1.9), embeddings, labels) == pytest.approx(0.5 + near, rel=1e-5)
    assert value(Triplet(margin=1.5, mining="all"), embeddings, labels) == pytest.approx(
        ((1 - 2 + 1.5) + (1 - math.sqrt(3) + 1.5)) / 2, rel=1e-5
    )
    assert value(Triplet(margin=0.5, mining="all"), embeddings, labels) == 0


def slow_arcface(embeddings: np.ndarray, vectors: np.ndarray, labels: np.ndarray, scale: float, margin: float) -> float:
    losses = []
    for embedding, label in zip(embeddings, labels, strict=True):
        scores = []
        for number, vector in enumerate(vectors):
            cosine = float(embedding @ vector / np.linalg.norm(embedding) / np.linalg.norm(vector))
            angle = math.acos(cosine)
            if number == label:
                inside = angle <= math.pi - margin
                cosine = math.cos(angle + margin) if inside else cosine - margin * math.sin(margin)
            scores.append(scale * cosine)
        losses.append(-scores[label] + math.log(sum(math.exp(score) for score in scores)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.5), (10.0, 0.0), (30.0, 2.0)])
def test_arcface_is_the_plain_loop(batch: tuple[np.ndarray, np.ndarray], scale: float, margin: float) -> None:
    embeddings, labels = batch
    torch.manual_seed(0)
    module = ArcFace(scale=scale, margin=margin).build(DIM, 4).double()
    (vectors,) = (p.detach().numpy().T for p in module.parameters())  # one vector a class, and nothing else, is learnt
    found = float(module(torch.from_numpy(embeddings), torch.zeros(13, 4), torch.from_numpy(labels)))
    assert found == pytest.approx(slow_arcface(embeddings, vectors, labels, scale, margin), rel=1e-6)
    assert found != pytest.approx(slow_arcface(embeddings, vectors, labels, scale, margin + 0.1), rel=1e-3)


@pytest.mark.parametrize("loss", [Contrastive(mining="hard"), Triplet(), Triplet(mining="hard"), ArcFace(scale=16)])
def test_descent_puts_classes_apart(loss: Loss) -> None:
    torch.manual_seed(1)
    labels = torch.arange(16) % 4
    embeddings = torch.randn(16, DIM, requires_grad=True)
    module = loss.build(DIM, 4)
    optimizer = torch.optim.SGD([embeddings, *module.parameters()], lr=0.5, momentum=0.9)

    def nearest_is_right() -> float:
        d = torch.cdist(nn.functional.normalize(embeddings), nn.functional.normalize(embeddings)).fill_diagonal_(9)
        return float((labels[d.argmin(1)] == labels).float().mean())

    before = nearest_is_right()
    for _ in range(60):
        optimizer.zero_grad()
        module(embeddings, torch.zeros(16, 4), labels).backward()
        optimizer.step()
    assert before < 0.7
    assert nearest_is_right() == 1


@pytest.mark.parametrize("loss", [Contrastive(mining="hard"), Triplet(), Triplet(mining="easy_positive")])
def test_a_batch_without_a_pair_of_one_class_still_has_a_gradient(loss: Loss) -> None:
    embeddings = (torch.eye(4, DIM) + 0.01).requires_grad_()
    found = loss.build(DIM, 4)(embeddings, torch.zeros(4, 4), torch.arange(4))
    found.backward()
    assert float(found) == 0
    assert embeddings.grad is not None and bool((embeddings.grad == 0).all())


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Triplet().check(nn.Identity())
    monkeypatch.setattr(environment, "version", lambda name: None)
    with pytest.raises(MissingTool, match=r'^loss: triplet needs pytorch-metric-learning.*\[train\]"$'):
        Triplet().check(nn.Identity())
