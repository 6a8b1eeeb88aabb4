"""Every loss and every objective of distillation teaches: it gives one number, and a gradient that lowers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.contracts import Loss, Objective, Outputs
from tests._components import every, made_up

N, CLASSES, DIM, TEACHER_DIM = 24, 4, 16, 20


def problem(value: Callable[[Tensor], Tensor]) -> str | None:
    """What is wrong with a loss as a function of embeddings [N, DIM]; None where nothing is."""
    embeddings = torch.randn(N, DIM, generator=torch.Generator().manual_seed(1)).sigmoid()  # some take [0, 1] alone
    found = value(embeddings.requires_grad_())
    if found.shape != () or not found.isfinite():
        return f"gives {found.tolist()}"
    if not found.requires_grad:
        return "no gradient"
    (gradient,) = torch.autograd.grad(found, embeddings, allow_unused=True)
    if gradient is None or not gradient.isfinite().all() or not gradient.any():
        return "no gradient reaches the embeddings"
    step = 0.01 * gradient / gradient.norm()
    return None if value(embeddings.detach() - step) < found else "a step against the gradient does not lower it"


def problems() -> Iterator[str]:
    """What is wrong with any loss or objective in the registry."""
    for component in every(Loss):
        torch.manual_seed(0)
        loss, classifier = component().build(DIM, CLASSES), nn.Linear(DIM, CLASSES)
        labels = torch.arange(N) % CLASSES
        if found := problem(lambda e, loss=loss, head=classifier, labels=labels: loss(e, head(e), labels)):  # type: ignore[misc]
            yield f"{component.__name__}: {found}"
    for objective in every(Objective):
        torch.manual_seed(0)
        loss, classifier = objective().build(DIM, TEACHER_DIM), nn.Linear(DIM, CLASSES)
        teacher = Outputs(torch.randn(N, TEACHER_DIM), torch.randn(N, CLASSES))
        if found := problem(lambda e, loss=loss, head=classifier, right=teacher: loss(Outputs(e, head(e)), right)):  # type: ignore[misc]
            yield f"{objective.__name__}: {found}"


def test_every_loss_and_objective_teaches() -> None:
    assert len(every(Loss)) >= 7
    assert len(every(Objective)) >= 3
    assert not list(problems())


class Broken(nn.Module):
    """A loss and an objective at once that does with the embeddings what a broken one does."""

    def __init__(self, breaks: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.breaks = breaks

    def forward(self, embeddings: Tensor | Outputs, *_: object) -> Tensor:
        return self.breaks(embeddings.embeddings if isinstance(embeddings, Outputs) else embeddings)


@pytest.mark.parametrize("kind", [Loss, Objective])
@pytest.mark.parametrize(
    ("breaks", "found"),
    [
        (lambda e: e.mean() * float("nan"), "gives nan"),
        (lambda e: e.mean(1), "gives ["),
        (lambda e: e.detach().mean(), "no gradient"),
        (lambda e: nn.Parameter(torch.ones(())) * e.detach().mean(), "no gradient reaches the embeddings"),
        (lambda e: 0 * e.mean(), "no gradient reaches the embeddings"),
        (lambda e: (e - 2 * F.relu(e.detach())).square().mean(), "a step against the gradient does not lower it"),
    ],
    ids=["nan", "vector", "detached", "unconnected", "zero", "wrong way"],
)
def test_one_that_teaches_nothing_is_found(
    kind: type[Loss] | type[Objective],
    breaks: Callable[[Tensor], Tensor],
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class MadeUp(kind):  # type: ignore[misc, valid-type]
        def build(self, *_: int) -> nn.Module:
            return Broken(breaks)

    made_up(monkeypatch, kind, MadeUp)
    (only,) = problems()
    assert only.startswith(f"MadeUp: {found}")
