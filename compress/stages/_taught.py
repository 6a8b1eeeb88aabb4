"""Training with a teacher's outputs beside the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from compress.contracts import EmbeddingSpec, Loss, Model, Objective, Outputs, Preprocess, only_field
from compress.stages._augment import Augmentation
from compress.stages._graph import TrainingGraph, layout, per_channel
from compress.stages.train import Train


@dataclass(frozen=True, kw_only=True)
class Taught(Train):
    """Minimise ``hard_weight`` times the loss on the labels plus the weighted sum of the objectives given.

    Student and teacher see the same augmented images. Kept are the weights with the best validation accuracy; where
    nothing teaches the classifier, those of the epoch with the lowest loss.

    Attributes:
        hard_weight: factor of ``loss``, the one on the labels.
        logits, embedding, relational: the objectives; see ``compress/distillation``.
    """

    hard_weight: Annotated[float, Ge(0)] = 1.0
    logits: Objective | None = only_field(Objective, "logits")
    embedding: Objective | None = only_field(Objective, "embedding")
    relational: Objective | None = only_field(Objective, "relational")

    def _objectives(self) -> list[Objective]:
        """Those that count."""
        given = (self.logits, self.embedding, self.relational)
        return [objective for objective in given if objective is not None and objective.weight > 0]

    def _check_taught(self, model: Model, teacher: Model, *, shared_space: bool = False) -> None:
        """Raises BadInput: the teacher's outputs are none that the objectives could compare the model's with."""
        for objective in self._objectives():
            objective.check(model, teacher, shared_space=shared_space)

    def _taught_graph(self, model: Model, teacher: Model) -> TrainingGraph:
        return TaughtGraph(model, self._augmentation(), self.loss, self.hard_weight, teacher, self._objectives())

    def _score(self, line: Mapping[str, Any]) -> float:
        """The accuracy says nothing of a classifier that is not taught; the loss does."""
        classifies = self.hard_weight > 0 or (self.logits is not None and self.logits.weight > 0)
        return super()._score(line) if classifies else -float(line["loss"])


class TaughtGraph(TrainingGraph):
    """Adds to the loss on the labels what the objectives say; what these learn is trained and saved with the graph."""

    def __init__(
        self,
        model: Model,
        augmentation: Augmentation,
        loss: Loss,
        hard_weight: float,
        teacher: Model,
        objectives: Sequence[Objective],
    ) -> None:
        super().__init__(model, augmentation, loss)
        self.hard_weight = hard_weight
        self.spec = model.embedding
        self.teacher = _Teacher(teacher, model.preprocess) if objectives else None
        self.weights = [objective.weight for objective in objectives]
        self.objectives = nn.ModuleList(o.build(model.embedding.dim, teacher.embedding.dim) for o in objectives)

    def objective(
        self, normalised: torch.Tensor, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        total = self.hard_weight * super().objective(normalised, embeddings, logits, labels)
        if self.teacher is None:
            return total
        own = Outputs(_compared(embeddings, self.spec), logits)
        taught = self.teacher(normalised)
        right = Outputs(self.team.gathered(taught.embeddings), self.team.gathered(taught.logits))
        for weight, objective in zip(self.weights, self.objectives, strict=True):
            total = total + weight * objective(own, right)
        return total


class _Teacher:
    """A network beside the graph and no part of it: none of its weights is trained, penalised or saved."""

    def __init__(self, model: Model, student: Preprocess) -> None:
        network = copy.deepcopy(model.network).eval().requires_grad_(False)  # it may be what the student starts from
        self.network = layout(network, torch.channels_last)
        self.spec = model.embedding
        std = per_channel(model.preprocess.std)
        self.scale = per_channel(student.std) / std
        self.shift = (per_channel(student.mean) - per_channel(model.preprocess.mean)) / std

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Outputs:
        """The outputs for float32 [N, 3, H, W], normalised as the student's images are."""
        self.network.to(images.device)
        embeddings = self.network.embed(images * self.scale.to(images.device) + self.shift.to(images.device))
        return Outputs(_compared(embeddings, self.spec), self.network.logits(embeddings))


def _compared(embeddings: torch.Tensor, spec: EmbeddingSpec) -> torch.Tensor:
    """Embeddings as artifacts put them out."""
    return F.normalize(embeddings) if spec.distance == "cosine" else embeddings
