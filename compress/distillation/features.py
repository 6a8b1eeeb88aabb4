"""The teacher's features, imitated by what enters the student's last layer (a hint; FitNets, arXiv:1412.6550)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from compress.contracts import BadInput, Model, Objective
from compress.distillation._imitation import Imitation


@dataclass(frozen=True, kw_only=True)
class Features(Objective):
    """Make the input of the student's last linear layer, through a learnt linear map, equal to the teacher's features.

    The features are the teachers' embeddings before ``reduce``. They say more about an image than its class, from
    which few images teach a network more than from labels alone, while the embedding behind the last layer stays free.
    The map is discarded after the training.

    Attributes:
        distance: as of ``embedding``.
    """

    of: ClassVar[Literal["embedding", "features"]] = "features"

    distance: Literal["l2", "cosine"] = "cosine"

    def check(self, student: Model, teacher: Model, *, shared_space: bool) -> None:
        if student.network.linear_end() is None:
            raise BadInput(
                f"features: {student.architecture.component_name()} does not end in a linear layer; set "
                "model.architecture: projected, with this network as its trunk, or take embedding"
            )

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        return Imitation(self.distance, nn.Linear(student_dim, teacher_dim))
