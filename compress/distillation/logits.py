"""The teacher's softened class probabilities (Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn
from torch.nn import functional as F

from compress.contracts import BadInput, Model, Objective, Outputs


class _SoftTargets(nn.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        own = F.log_softmax(student.logits / self.temperature, dim=1)
        right = F.log_softmax(teacher.logits / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(own, right, reduction="batchmean", log_target=True)


@dataclass(frozen=True, kw_only=True)
class Logits(Objective):
    """Match the teacher's class probabilities: T² · KL(softmax(teacher / T) || softmax(student / T)), mean over images.

    T² makes the size of the gradients independent of T, as section 2 there advises.

    Attributes:
        temperature: T; above 1, wrong classes that are similar to the right one get more weight.
    """

    temperature: Annotated[float, Gt(0)] = 4.0

    def check(self, student: Model, teacher: Model, *, shared_space: bool) -> None:
        if student.classes != teacher.classes:
            raise BadInput(
                f"logits: the teacher tells {len(teacher.classes)} classes apart ({_few(teacher)}), the data has "
                f"{len(student.classes)} ({_few(student)}); remove logits, or take a teacher of these classes"
            )

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        return _SoftTargets(self.temperature)


def _few(model: Model) -> str:
    return ", ".join(model.classes[:3]) + (", …" if len(model.classes) > 3 else "")
