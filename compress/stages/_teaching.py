"""Training with a teacher's outputs in addition to the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from compress.contracts import (
    BadInput,
    Component,
    EmbeddingSpec,
    Loss,
    Model,
    Objective,
    Outputs,
    Preprocess,
    only_field,
)
from compress.stages._augment import Augmentation
from compress.stages._graph import TrainingGraph, layout, per_channel
from compress.stages._mixing import Mixed, Mixing
from compress.stages._policies import AutoAugment


@dataclass(frozen=True, kw_only=True)
class Teaching(Component):
    """Minimise ``hard_weight`` times the loss on the labels plus the weighted sum of the objectives given.

    Student and teacher see the same augmented images.

    Attributes:
        hard_weight: factor of ``loss``, which is computed on the labels.
        logits, embedding, relational: the objectives; see ``compress/distillation``.
    """

    hard_weight: Annotated[float, Ge(0)] = 1.0
    logits: Objective | None = only_field(Objective, "logits")
    embedding: Objective | None = only_field(Objective, "embedding")
    relational: Objective | None = only_field(Objective, "relational")

    def objectives(self) -> list[Objective]:
        """The objectives with a weight above 0."""
        given = (self.logits, self.embedding, self.relational)
        return [objective for objective in given if objective is not None and objective.weight > 0]

    def need_something(self) -> None:
        """Raises BadInput if neither the labels nor a teacher would teach."""
        if not self.hard_weight and not self.objectives():
            raise BadInput("hard_weight: 0 leaves nothing to learn from; give logits, embedding or relational a weight")

    def check(self, model: Model, teacher: Model, *, shared_space: bool = False) -> None:
        """Raises BadInput if an objective cannot compare the teacher's outputs with the model's."""
        for objective in self.objectives():
            objective.check(model, teacher, shared_space=shared_space)

    @property
    def classifies(self) -> bool:
        """Whether the classifier is taught; otherwise accuracy says nothing, and the loss chooses the weights."""
        return self.hard_weight > 0 or (self.logits is not None and self.logits.weight > 0)


class TaughtGraph(TrainingGraph):
    """Adds the objectives to the loss on the labels; their learnt parameters are trained and saved with the graph."""

    def __init__(
        self,
        model: Model,
        augmentation: Augmentation,
        loss: Loss,
        teaching: Teaching,
        teacher: Model,
        mixing: Mixing | None = None,
        policy: AutoAugment | None = None,
    ) -> None:
        super().__init__(model, augmentation, loss, mixing, policy)
        objectives = teaching.objectives()
        self.hard_weight = teaching.hard_weight
        self.spec = model.embedding
        self.teacher = _Teacher(teacher, model.preprocess) if objectives else None
        self.weights = [objective.weight for objective in objectives]
        self.objectives = nn.ModuleList(o.build(model.embedding.dim, teacher.embedding.dim) for o in objectives)

    def objective(
        self,
        normalised: torch.Tensor,
        embeddings: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        mixed: Mixed | None = None,
    ) -> torch.Tensor:
        total = self.hard_weight * self._on_labels(normalised, embeddings, logits, labels, mixed)
        if self.teacher is None:
            return total
        own = Outputs(_compared(embeddings, self.spec), logits)
        taught = self.teacher(normalised)
        right = Outputs(self.team.gathered(taught.embeddings), self.team.gathered(taught.logits))
        for weight, objective in zip(self.weights, self.objectives, strict=True):
            total = total + weight * objective(own, right)
        return total

    def _on_labels(
        self,
        normalised: torch.Tensor,
        embeddings: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        mixed: Mixed | None,
    ) -> torch.Tensor:
        """The loss of the images that have labels, 0 if none has; an image mixed with an unlabelled one has none."""
        known = labels >= 0
        if known.all():
            return super().objective(normalised, embeddings, logits, labels, mixed)
        if mixed is not None:
            known &= labels[mixed.partners] >= 0
        if not known.any():
            return embeddings.sum() * 0
        features, scores = embeddings[known], logits[known]
        loss: torch.Tensor = self.loss(features, scores, labels[known])
        return loss if mixed is None else mixed.loss(loss, self.loss(features, scores, labels[mixed.partners][known]))


class _Teacher:
    """The teacher's network, kept outside the graph's modules: its weights are not trained, penalised or saved."""

    def __init__(self, model: Model, student: Preprocess) -> None:
        network = copy.deepcopy(model.network).eval().requires_grad_(False)  # the student may start from it
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
    """The embeddings as artifacts give them."""
    return F.normalize(embeddings) if spec.distance == "cosine" else embeddings
