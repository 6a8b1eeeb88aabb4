"""Training with a teacher's outputs in addition to the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import nn

from compress.contracts import BadInput, Component, Data, Loss, Model, Objective, Outputs, only_field
from compress.data.unlabelled import with_unlabelled
from compress.stages._augment import Augmentation
from compress.stages._graph import TrainingGraph
from compress.stages._lessons import Lesson
from compress.stages._mixing import Mixed, Mixing
from compress.stages._policies import AutoAugment
from compress.stages._teacher import Teacher, compared


@dataclass(frozen=True, kw_only=True)
class Teaching(Component):
    """Minimise ``hard_weight`` times the loss on the labels plus the weighted sum of the objectives given.

    Student and teacher see the same augmented images.

    Attributes:
        hard_weight: factor of ``loss``, which is computed on the labels.
        logits, embedding, features, relational: the objectives; see ``compress/distillation``.
    """

    hard_weight: Annotated[float, Ge(0)] = 1.0
    logits: Objective | None = only_field(Objective, "logits")
    embedding: Objective | None = only_field(Objective, "embedding")
    features: Objective | None = only_field(Objective, "features")
    relational: Objective | None = only_field(Objective, "relational")

    def objectives(self) -> list[Objective]:
        """The objectives with a weight above 0."""
        given = (self.logits, self.embedding, self.features, self.relational)
        return [objective for objective in given if objective is not None and objective.weight > 0]

    def seen(self, data: Data) -> Data:
        """The data with the images that teach as training images: with an objective also those without labels."""
        if data.unlabelled is None or not self.objectives():
            return data
        return replace(data, train=with_unlabelled(data.train, data.unlabelled))

    def need_something(self) -> None:
        """Raises BadInput if neither the labels nor a teacher would teach."""
        if not self.hard_weight and not self.objectives():
            raise BadInput(
                "hard_weight: 0 leaves nothing to learn from; give logits, embedding, features or relational a weight"
            )

    def check(self, model: Model, teacher: Model, *, shared_space: bool = False) -> None:
        """Raises BadInput if an objective cannot compare the teacher's outputs with the model's."""
        for objective in self.objectives():
            objective.check(model, teacher, shared_space=shared_space)

    @property
    def classifies(self) -> bool:
        """Whether the classifier is taught; otherwise accuracy says nothing, and the loss chooses the weights."""
        return self.hard_weight > 0 or (self.logits is not None and self.logits.weight > 0)


class TaughtGraph(TrainingGraph):
    """Adds the objectives to the loss on the labels; their learnt parameters are trained and saved with the graph.

    ``teacher`` sees the images that the student sees; a lesson decides what both see.
    """

    def __init__(
        self,
        model: Model,
        augmentation: Augmentation,
        loss: Loss,
        teaching: Teaching,
        teacher: Model | Lesson,
        mixing: Mixing | None = None,
        policy: AutoAugment | None = None,
    ) -> None:
        super().__init__(model, augmentation, loss, mixing, policy)
        self.hard_weight = teaching.hard_weight
        self.spec = model.embedding
        self.taught = teaching.objectives()
        self.lesson = teacher if isinstance(teacher, Lesson) else None
        self.teacher = Teacher(teacher, model.preprocess) if self.taught and isinstance(teacher, Model) else None
        source = self.lesson or self.teacher
        end = model.network.linear_end()
        hinted = any(objective.of == "features" for objective in self.taught)
        # In a tuple, so that the layer is not a part of this module a second time.
        self.hinted = (end,) if end is not None and hinted else ()
        self._entered: torch.Tensor | None = None
        own = {"embedding": model.embedding.dim, "features": 0 if end is None else end.in_channels}
        right = source.dims() if source else {}
        self.objectives = nn.ModuleList(each.build(own[each.of], right[each.of]) for each in self.taught)

    def forward(self, *arguments: Any, **keywords: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.hinted or not self.training:
            return super().forward(*arguments, **keywords)

        def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            self._entered = inputs[0].flatten(1)

        handle = self.hinted[0].register_forward_pre_hook(keep)
        try:
            return super().forward(*arguments, **keywords)
        finally:
            handle.remove()
            self._entered = None

    def changed(
        self, images: torch.Tensor, generator: torch.Generator, rows: torch.Tensor | None, epoch: int
    ) -> torch.Tensor:
        if self.lesson is None:
            return super().changed(images, generator, rows, epoch)
        assert rows is not None
        return self.lesson.shown(images, rows, epoch, generator, self.mean, self.std)

    def objective(
        self,
        normalised: torch.Tensor,
        embeddings: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        mixed: Mixed | None = None,
        rows: torch.Tensor | None = None,
        epoch: int = 0,
    ) -> torch.Tensor:
        total = self.hard_weight * self._on_labels(normalised, embeddings, logits, labels, mixed)
        if not self.taught:
            return total
        right = self._right(normalised, rows, epoch)
        entered = None if self._entered is None else self.team.gathered(self._entered)
        own = Outputs(compared(embeddings, self.spec), logits, entered)
        for each, objective in zip(self.taught, self.objectives, strict=True):
            pair = (_features(own), _features(right)) if each.of == "features" else (own, right)
            total = total + each.weight * objective(*pair)
        return total

    def _right(self, normalised: torch.Tensor, rows: torch.Tensor | None, epoch: int) -> Outputs:
        """The teacher's outputs for the whole batch."""
        if self.lesson is not None:
            assert rows is not None
            return self.lesson.outputs(rows, epoch, normalised.device)
        assert self.teacher is not None
        taught = self.teacher(normalised)
        assert taught.features is not None
        return Outputs(*map(self.team.gathered, (taught.embeddings, taught.logits, taught.features)))

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


def _features(outputs: Outputs) -> Outputs:
    """The features in the place of the embeddings."""
    assert outputs.features is not None
    return Outputs(outputs.features, outputs.logits)
