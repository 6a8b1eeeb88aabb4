"""Knowledge distillation: the recipe's model, the student, imitates a trained and usually larger teacher."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from compress.contracts import Architecture, BadInput, Data, Division, EmbeddingSpec, Model, SharingStage, flat_field
from compress.model.checkpoint import last_checkpoint, load_model
from compress.model.identity import space_id
from compress.options import build_named
from compress.stages._fit import fit
from compress.stages._teaching import Teaching
from compress.stages._training import Training
from compress.system.files import artifact_sha256


@dataclass(frozen=True, kw_only=True)
class Distill(SharingStage):
    """Train as ``train`` does, but also on the outputs of another network, the teacher (see ``Teaching``).

    With ``space: teacher`` the best weights are those of the epoch with the lowest loss. The other options are those
    of ``train``.

    Attributes:
        teacher: ``checkpoint`` names a .safetensors file that Compress wrote, or the folder of a finished run;
            ``architecture`` a pretrained network, as in ``{efficientnet_lite0: {pretrained: true}}``. A pretrained
            network was not trained on the data's classes, so it can only be used with ``embedding`` and ``relational``.
        space: ``teacher`` makes the student's embeddings comparable with the teacher's, so that a phone can query a
            gallery that the teacher made. It needs the objective ``embedding`` and embeddings of the teacher's
            dimension; the architecture ``projected`` gives any network the dimension it needs.
    """

    trains: ClassVar[bool] = True

    training: Training = flat_field(Training)
    teaching: Teaching = flat_field(Teaching)
    teacher: Mapping[Literal["checkpoint", "architecture"], Any]
    space: Literal["own", "teacher"] = "own"

    def __post_init__(self) -> None:
        if len(self.teacher) != 1:
            raise BadInput(
                "teacher.checkpoint: missing; name a .safetensors file or the folder of a finished run (or, instead, a "
                "pretrained network as teacher.architecture)"
            )
        if not isinstance(self.teacher.get("checkpoint", ""), str):
            raise BadInput(f"teacher.checkpoint: {self.teacher['checkpoint']!r} must be a path")
        if self._pretrained() and self.teaching.logits is not None and self.teaching.logits.weight:
            raise BadInput(
                "logits: a pretrained teacher.architecture knows none of the data's classes; take embedding or "
                "relational, or a teacher.checkpoint trained on this data"
            )
        if self._pretrained() and self.space == "teacher":
            raise BadInput("space: teacher needs a teacher.checkpoint, whose gallery can be made; set it to own")
        if not self.teaching.objectives():
            raise BadInput("logits, embedding, relational: give one of them a weight above 0; without, use 'train'")
        if self.space == "teacher" and not (self.teaching.embedding is not None and self.teaching.embedding.weight):
            raise BadInput("space: teacher needs the objective embedding with a weight above 0")

    def check(self, model: Model) -> Model:
        """Refuse a teacher that is missing, damaged, untrained or does not fit the student."""
        self.training.check(model)
        if architecture := self._pretrained():
            _refuse_fresh_weights(architecture)
        teacher = self._teacher(model)
        for key in ("size", "crop"):
            own, right = getattr(model.preprocess, key), getattr(teacher.preprocess, key)
            if own != right:
                raise BadInput(f"teacher.checkpoint: was trained on images of {key} {right}, the data has {own}")
        self.teaching.check(model, teacher, shared_space=self.space == "teacher")
        return replace(model, space=self._space())

    def check_data(self, division: Division) -> None:
        self.training.check_data(division)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        fitted = fit(
            "distill",
            self.training,
            model,
            data,
            seed=seed,
            scratch=scratch,
            teaching=self.teaching,
            teacher=functools.partial(self._teacher, model),
            # Accuracy says little about a shared space.
            by_loss=self.space == "teacher" or not self.teaching.classifies,
        )
        return replace(fitted.model, space=self._space())

    def inputs(self) -> Mapping[str, str]:
        if architecture := self._pretrained():
            from safetensors.torch import save

            return {"teacher": hashlib.sha256(save(architecture.build().state_dict())).hexdigest()}
        return {"teacher": artifact_sha256(self._teacher_file())}

    def space_of(self) -> Model | None:
        return self._checkpoint() if self.space == "teacher" else None

    def _space(self) -> str | None:
        return space_id(self._checkpoint()) if self.space == "teacher" else None

    def _pretrained(self) -> Architecture | None:
        """The teacher's architecture if the recipe names a pretrained network, otherwise None."""
        if "architecture" not in self.teacher:
            return None
        return build_named(Architecture, self.teacher["architecture"], "teacher.architecture")

    def _teacher(self, student: Model) -> Model:
        """The teacher. A pretrained network gets the student's images, normalised as its weights expect."""
        architecture = self._pretrained()
        if architecture is None:
            return self._checkpoint()
        normalisation = architecture.normalisation()
        assert normalisation is not None, "refused by check"
        mean, std = normalisation
        network = architecture.build()
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


def _refuse_fresh_weights(architecture: Architecture) -> None:
    """Raises BadInput if a tensor of the teacher depends on the seed, because such a tensor is not pretrained."""
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
