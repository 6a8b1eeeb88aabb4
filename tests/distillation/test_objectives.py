"""Each objective against plain loops over its paper's formulas, and against numbers worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from compress.contracts import Objective, Outputs
from compress.distillation.embedding import Embedding
from compress.distillation.logits import Logits
from compress.distillation.relational import Relational


def outputs(embeddings: np.ndarray | None = None, logits: np.ndarray | None = None) -> Outputs:
    def tensor(values: np.ndarray | None) -> torch.Tensor:
        return torch.from_numpy(np.zeros((1, 1)) if values is None else values).float()

    return Outputs(tensor(embeddings), tensor(logits))


def value(objective: Objective, student: Outputs, teacher: Outputs) -> float:
    module = objective.build(student.embeddings.shape[1], teacher.embeddings.shape[1])
    return float(module(student, teacher))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# -------------------------------------------------------------------------------------------------------- logits


def slow_logits(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    total = 0.0
    for own, right in zip(student / temperature, teacher / temperature, strict=True):
        p = [math.exp(t) / sum(math.exp(u) for u in right) for t in right]
        q = [math.exp(s) / sum(math.exp(u) for u in own) for s in own]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_logits(temperature: float) -> None:
    student, teacher = random(6, 5), 3 * random(6, 5, seed=1)
    measured = value(Logits(temperature=temperature), outputs(logits=student), outputs(logits=teacher))
    assert measured == pytest.approx(slow_logits(student, teacher, temperature), rel=1e-4)


def test_logits_by_hand() -> None:
    # The teacher says 3/4 to 1/4, the student 1/2 to 1/2: KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.130812; T = 2 gives it
    # to logits twice as large, and 4 times the value.
    student = outputs(logits=np.array([[0.0, 0.0]]))
    assert value(Logits(temperature=1), student, outputs(logits=np.array([[math.log(3), 0.0]]))) == pytest.approx(
        0.130812, abs=1e-6
    )
    assert value(Logits(temperature=2), student, outputs(logits=np.array([[2 * math.log(3), 0.0]]))) == pytest.approx(
        0.523248, abs=1e-5
    )


def test_the_gradient_of_logits_hardly_depends_on_a_high_temperature() -> None:
    """Section 2 of the paper: (z - v) / classes with centred logits z, v, in the limit."""
    student = torch.tensor([[1.0, -2.0, 1.0]], requires_grad=True)
    teacher = Outputs(torch.zeros(1, 1), torch.tensor([[3.0, 0.0, -3.0]]))
    Logits(temperature=1000.0).build(1, 1)(Outputs(torch.zeros(1, 1), student), teacher).backward()
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx([-2 / 3, -2 / 3, 4 / 3], abs=2e-3)


# ----------------------------------------------------------------------------------------------------- embedding


def test_embedding_by_hand() -> None:
    student, teacher = outputs(np.array([[3.0, 0.0], [0.0, 1.0]])), outputs(np.array([[3.0, 4.0], [0.0, 5.0]]))
    # l2: (0 + 16 + 0 + 16) / (9 + 16 + 25); cosine: the angles have cosines 3/5 and 1.
    assert value(Embedding(distance="l2"), student, teacher) == pytest.approx(32 / 50)
    assert value(Embedding(distance="cosine"), student, teacher) == pytest.approx(0.2)


def test_nothing_learnt_costs_one_and_everything_nothing() -> None:
    teacher = outputs(random(8, 5))
    assert value(Embedding(distance="l2"), outputs(np.zeros((8, 5))), teacher) == pytest.approx(1)
    for distance in ("l2", "cosine"):
        assert value(Embedding(distance=distance), teacher, teacher) == pytest.approx(0, abs=1e-6)
    # Only cosine leaves the length free.
    longer = outputs(7 * random(8, 5))
    assert value(Embedding(distance="cosine"), longer, teacher) == pytest.approx(0, abs=1e-6)
    assert value(Embedding(distance="l2"), longer, teacher) == pytest.approx(36)


def test_another_dimension_is_learnt_through_a_projection() -> None:
    """A student that is a linear map of its teacher is read back; one of noise is not."""
    teacher = random(64, 4)

    def left_over(student: np.ndarray) -> float:
        torch.manual_seed(0)
        module = Embedding().build(6, 4)
        optimizer = torch.optim.Adam(module.parameters(), 0.05)
        for _ in range(300):
            optimizer.zero_grad()
            loss = module(outputs(student), outputs(teacher))
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    assert left_over(teacher @ random(4, 6, seed=2)) < 0.01
    assert left_over(random(64, 6, seed=3)) > 0.5
    assert not list(Embedding().build(4, 4).parameters())


# ---------------------------------------------------------------------------------------------------- relational


def huber(a: Any, b: Any) -> float:
    difference = abs(a - b)
    return float(difference**2 / 2 if difference <= 1 else difference - 0.5)


def slow_relational(student: np.ndarray, teacher: np.ndarray, angle: float) -> float:
    count = len(student)

    def mu(points: np.ndarray) -> float:
        return float(np.mean([np.linalg.norm(a - b) for i, a in enumerate(points) for b in np.delete(points, i, 0)]))

    def cosine(points: np.ndarray, i: int, j: int, k: int) -> float:
        one, other = points[i] - points[j], points[k] - points[j]
        lengths = np.linalg.norm(one) * np.linalg.norm(other)
        return float(one @ other / lengths) if lengths else 0.0

    pairs = [
        huber(
            np.linalg.norm(student[i] - student[j]) / mu(student), np.linalg.norm(teacher[i] - teacher[j]) / mu(teacher)
        )
        for i in range(count)
        for j in range(count)
    ]
    triples = [
        huber(cosine(student, i, j, k), cosine(teacher, i, j, k))
        for i in range(count)
        for j in range(count)
        for k in range(count)
    ]
    return float(np.mean(pairs) + angle * np.mean(triples))


@pytest.mark.parametrize("angle", [0.0, 2.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_relational(angle: float, offset: float) -> None:
    student, teacher = random(7, 3) + offset, random(7, 5, seed=1)
    measured = value(Relational(angle=angle), outputs(student), outputs(teacher))
    assert measured == pytest.approx(slow_relational(student, teacher, angle), rel=1e-3)


def test_relational_by_hand() -> None:
    # Teacher: the corners of an equilateral triangle, all distances 1 mu, all angles 60 degrees (cosine 1/2).
    # Student: 0, 1 and 2 on a line: distances 1, 1, 2 with mu 4/3, thus 3/4, 3/4 and 3/2 mu; cosines 1, -1 and 1.
    teacher = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]])
    student = np.array([[0.0], [1.0], [2.0]])
    # Pairs, each twice of nine: (1/4)²/2, (1/4)²/2, (1/2)²/2. Triples of three different images, each twice of 27:
    # (1/2)²/2 at both ends, 3/2 - 1/2 in the middle. Where i = k, both cosines are 1.
    pairs, triples = 2 / 9 * (1 / 32 + 1 / 32 + 1 / 8), 2 / 27 * (1 / 8 + 1 / 8 + 1)
    measured = [value(Relational(angle=angle), outputs(student), outputs(teacher)) for angle in (0.0, 2.0)]
    assert measured == pytest.approx([pairs, pairs + 2 * triples], rel=1e-5)


def test_moved_turned_and_scaled_embeddings_have_the_same_relations() -> None:
    teacher = random(8, 3)
    turned, _ = np.linalg.qr(random(3, 3, seed=4))
    assert value(Relational(), outputs(5 * teacher @ turned + 2), outputs(teacher)) == pytest.approx(0, abs=1e-6)
    assert value(Relational(), outputs(random(8, 3, seed=5)), outputs(teacher)) > 0.1


@pytest.mark.parametrize("student", [np.ones((6, 3)), np.repeat(random(3, 3), 2, axis=0)])
def test_equal_embeddings_have_finite_gradients(student: np.ndarray) -> None:
    embeddings = torch.from_numpy(student).float().requires_grad_()
    loss = Relational().build(3, 3)(Outputs(embeddings, torch.zeros(6, 1)), outputs(random(6, 3, seed=6)))
    loss.backward()
    assert embeddings.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()
