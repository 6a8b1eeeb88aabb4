"""Knowledge distillation: a trained teacher, usually larger, is imitated by the recipe's model, the student."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional as F

from compress.checkpoint import last_checkpoint, load_model
from compress.contracts import (
    Architecture,
    BadInput,
    EmbeddingSpec,
    Loss,
    Model,
    Objective,
    Outputs,
    Preprocess,
    only_field,
)
from compress.hashing import artifact_sha256
from compress.model import space_id
from compress.options import build_named
from compress.stages._augment import Augmentation
from compress.stages._graph import TrainingGraph, layout, per_channel
from compress.stages.train import Train


@dataclass(frozen=True, kw_only=True)
class Distill(Train):
    """Train as ``train`` does, with the teacher's outputs beside the labels.

    Every step minimises ``hard_weight`` times the loss on the labels plus the weighted sum of the objectives given.
    Student and teacher see the same augmented images. The other options are those of ``train``. Kept are the weights
    with the best validation accuracy; in the teacher's space, or where nothing teaches the classifier, those of the
    epoch with the lowest loss.

    Attributes:
        teacher: ``checkpoint`` names a .safetensors file that Compress wrote, or the folder of a finished run;
            ``architecture`` a pretrained network, as in ``{efficientnet_lite0: {pretrained: true}}``. It knows none of
            the data's classes, so that it teaches by ``embedding`` and ``relational`` alone.
        hard_weight: factor of ``loss``, the one on the labels.
        logits, embedding, relational: the objectives; see ``compress/distillation``.
        space: ``teacher`` makes the student's embeddings comparable with the teacher's, so that a phone can query a
            gallery that the teacher made. It needs the objective ``embedding`` and as many dimensions as the teacher's,
            which the architecture ``projected`` gives to any network.
    """

    teacher: Mapping[Literal["checkpoint", "architecture"], Any]
    hard_weight: Annotated[float, Ge(0)] = 1.0
    logits: Objective | None = only_field("distillation", "logits")
    embedding: Objective | None = only_field("distillation", "embedding")
    relational: Objective | None = only_field("distillation", "relational")
    space: Literal["own", "teacher"] = "own"

    def __post_init__(self) -> None:
        if len(self.teacher) != 1:
            raise BadInput(
                "teacher.checkpoint: missing; name a .safetensors file or the folder of a finished run (or, instead, a "
                "pretrained network as teacher.architecture)"
            )
        if not isinstance(self.teacher.get("checkpoint", ""), str):
            raise BadInput(f"teacher.checkpoint: {self.teacher['checkpoint']!r} must be a path")
        if self._pretrained() and self.logits is not None and self.logits.weight:
            raise BadInput(
                "logits: a pretrained teacher.architecture knows none of the data's classes; take embedding or "
                "relational, or a teacher.checkpoint trained on this data"
            )
        if self._pretrained() and self.space == "teacher":
            raise BadInput("space: teacher needs a teacher.checkpoint, whose gallery can be made; set it to own")
        if not any(objective.weight for objective in self._objectives()):
            raise BadInput("logits, embedding, relational: give one of them a weight above 0; without, use 'train'")
        if self.space == "teacher" and not (self.embedding is not None and self.embedding.weight):
            raise BadInput("space: teacher needs the objective embedding with a weight above 0")

    def check(self, model: Model) -> Model:
        """Refuse a teacher that is missing, damaged, untrained or does not fit the student."""
        super().check(model)
        if architecture := self._pretrained():
            _refuse_fresh_weights(architecture)
        teacher = self._teacher(model)
        for key in ("size", "crop"):
            own, right = getattr(model.preprocess, key), getattr(teacher.preprocess, key)
            if own != right:
                raise BadInput(f"teacher.checkpoint: was trained on images of {key} {right}, the data has {own}")
        for objective in self._objectives():
            objective.check(model, teacher, shared_space=self.space == "teacher")
        return replace(model, space=self._space())

    def inputs(self) -> Mapping[str, str]:
        if architecture := self._pretrained():
            from safetensors.torch import save

            return {"teacher": hashlib.sha256(save(architecture.build().state_dict())).hexdigest()}
        return {"teacher": artifact_sha256(self._teacher_file())}

    def space_of(self) -> Model | None:
        return self._checkpoint() if self.space == "teacher" else None

    def _space(self) -> str | None:
        return space_id(self._checkpoint()) if self.space == "teacher" else None

    def _score(self, line: Mapping[str, Any]) -> float:
        """The accuracy says nothing of a classifier that is not taught, and little of a shared space; the loss does."""
        classifies = self.hard_weight > 0 or (self.logits is not None and self.logits.weight > 0)
        return super()._score(line) if classifies and self.space == "own" else -float(line["loss"])

    def _objectives(self) -> list[Objective]:
        given = (self.logits, self.embedding, self.relational)
        return [objective for objective in given if objective is not None]

    def _pretrained(self) -> Architecture | None:
        """The teacher's architecture, where that is all the recipe names."""
        if "architecture" not in self.teacher:
            return None
        architecture = build_named("architectures", self.teacher["architecture"], "teacher.architecture")
        assert isinstance(architecture, Architecture)
        return architecture

    def _teacher(self, student: Model) -> Model:
        """The student's images are what a pretrained network sees, in the normalisation of its weights."""
        architecture = self._pretrained()
        if architecture is None:
            return self._checkpoint()
        normalisation = architecture.normalisation()
        assert normalisation is not None, "refused by check"
        mean, std = normalisation
        network: Any = architecture.build()
        own = student.embedding.distance
        distance = own if own in architecture.distances else architecture.distances[0]
        preprocess = replace(student.preprocess, mean=mean, std=std)
        return Model(architecture, network, (), preprocess, EmbeddingSpec(network.embedding_dim, distance=distance))

    def _checkpoint(self) -> Model:
        try:
            return load_model(self._teacher_file())
        except BadInput as error:
            raise BadInput(f"teacher.checkpoint: {error}") from error

    def _teacher_file(self) -> Path:
        path = Path(self.teacher["checkpoint"])
        if path.is_dir():
            return last_checkpoint(path)
        if not path.is_file():
            raise BadInput(f"no file or folder at {path.resolve()}; run the teacher's recipe first")
        return path

    def _graph(self, model: Model) -> TrainingGraph:
        objectives = [objective for objective in self._objectives() if objective.weight]
        augmentation = self._augmentation()
        return _DistillationGraph(model, augmentation, self.loss, self.hard_weight, self._teacher(model), objectives)


class _DistillationGraph(TrainingGraph):
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
        self.teacher = _Teacher(teacher, model.preprocess)
        self.weights = [objective.weight for objective in objectives]
        self.objectives = nn.ModuleList(o.build(model.embedding.dim, teacher.embedding.dim) for o in objectives)

    def objective(
        self, normalised: torch.Tensor, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        total = self.hard_weight * super().objective(normalised, embeddings, logits, labels)
        own = Outputs(_compared(embeddings, self.spec), logits)
        taught = self.teacher(normalised)
        right = Outputs(self.team.gathered(taught.embeddings), self.team.gathered(taught.logits))
        for weight, objective in zip(self.weights, self.objectives, strict=True):
            total = total + weight * objective(own, right)
        return total


class _Teacher:
    """A network beside the graph and no part of it: none of its weights is trained, penalised or saved."""

    def __init__(self, model: Model, student: Preprocess) -> None:
        self.network: Any = layout(model.network.eval().requires_grad_(False), torch.channels_last)
        self.spec = model.embedding
        std = per_channel(model.preprocess.std)
        self.scale = per_channel(student.std) / std
        self.shift = (per_channel(student.mean) - per_channel(model.preprocess.mean)) / std

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Outputs:
        """The outputs for float32 [N, 3, H, W], normalised as the student's images are."""
        self.network.to(images.device)
        embeddings = self.network.embed(images * self.scale.to(images.device) + self.shift.to(images.device))
        classifier = self.network.classifier
        logits = embeddings.new_zeros(len(embeddings), 0) if classifier is None else classifier(embeddings)
        return Outputs(_compared(embeddings, self.spec), logits)


def _refuse_fresh_weights(architecture: Architecture) -> None:
    """Whatever the seed decides is not pretrained."""
    one, other = (_built_with(seed, architecture) for seed in (0, 1))
    fresh = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
    if fresh:
        raise BadInput(
            f"teacher.architecture: '{fresh[0]}' and {len(fresh) - 1} other tensors of "
            f"{architecture.component_name()} would be random; set pretrained: true where it has that option, or name "
            "a teacher.checkpoint"
        )


def _built_with(seed: int, architecture: Architecture) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build().state_dict()


def _compared(embeddings: torch.Tensor, spec: EmbeddingSpec) -> torch.Tensor:
    """Embeddings as artifacts put them out."""
    return F.normalize(embeddings) if spec.distance == "cosine" else embeddings
