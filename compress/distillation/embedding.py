"""The teacher's embedding of each image, through a learnt linear map (FitNets, Romero et al. 2015, arXiv:1412.6550)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from compress.contracts import BadInput, Model, Objective
from compress.distillation._imitation import Imitation


@dataclass(frozen=True, kw_only=True)
class Embedding(Objective):
    """Make the student's embedding of an image equal to the teacher's.

    If the dimensions differ, a linear map from the student's to the teacher's embedding is trained with the student and
    discarded afterwards.

    Attributes:
        distance: ``l2`` is the squared distance of eq. 3 there, summed over the batch and divided by the teacher's
            squared norms, so that an all-zero student scores 1 for every teacher; ``cosine`` is 1 - cosine, the mean
            over images, and does not constrain the length of the student's embeddings.
    """

    distance: Literal["l2", "cosine"] = "l2"

    def check(self, student: Model, teacher: Model, *, shared_space: bool) -> None:
        if not shared_space:
            return
        own, right = student.embedding, teacher.embedding
        if own.distance != right.distance:
            raise BadInput(
                f"space: teacher, whose embeddings are compared by {right.distance}, the student's by {own.distance}; "
                f"set model.distance: {right.distance}"
            )
        if own.dim != right.dim:
            raise BadInput(
                f"space: teacher, whose embedding has {right.dim} values, the student's {own.dim}; set "
                f"model: {{architecture: projected, dim: {right.dim}, trunk: {student.architecture.component_name()}}}"
            )
        if self.distance == "cosine" and right.distance != "cosine":
            raise BadInput(
                f"embedding.distance: cosine leaves lengths free, but the teacher's embeddings are compared by "
                f"{right.distance}; set it to l2"
            )

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        same = student_dim == teacher_dim
        return Imitation(self.distance, nn.Identity() if same else nn.Linear(student_dim, teacher_dim))
