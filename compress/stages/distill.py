"""Knowledge distillation: the recipe's model, the student, imitates a trained and usually larger teacher."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le

from compress.contracts import Architecture, BadInput, Data, Division, EmbeddingSpec, Model, SharingStage, flat_field
from compress.model.checkpoint import last_checkpoint, load_model
from compress.model.identity import space_id
from compress.options import build_named
from compress.stages._fit import fit
from compress.stages._joined_teachers import JoinedTeachers, fitted_reduction
from compress.stages._lessons import Lesson, Views, make_lesson, plain_features
from compress.stages._teaching import Teaching
from compress.stages._training import Training
from compress.system.files import artifact_sha256

_Named = Mapping[Literal["checkpoint", "architecture", "image_size"], Any]


@dataclass(frozen=True, kw_only=True)
class Distill(SharingStage):
    """Train as ``train`` does, but also on the outputs of another network, the teacher (see ``Teaching``).

    With ``space: teacher`` the best weights are those of the epoch with the lowest loss. The other options are those
    of ``train``.

    Attributes:
        teacher: ``checkpoint`` names a .safetensors file that Compress wrote, or the folder of a finished run;
            ``architecture`` a pretrained network, as in ``{efficientnet_lite: {pretrained: true}}``. A pretrained
            network was not trained on the data's classes, so it cannot be used with ``logits``. A list of such teachers
            teaches by their concatenated features, which count alike. ``image_size``, the side in pixels, beside
            either, resizes the images for this teacher.
        reduce: ``{discriminant: d}`` or ``{pca: d}`` reduces the teachers' features to d values by a map that is fitted
            to the training images: linear discriminant analysis with at most one value less than there are classes, or
            principal components.
        views: number of random variants of each training image; epochs show them in turn, mirrored anew. The teacher's
            outputs are computed once for each and kept in the cache folder, so that epochs cost about as much as
            without a teacher. None draws new variants in every epoch, and the teacher sees each.
        space: ``teacher`` makes the student's embeddings comparable with the teacher's, so that a phone can query a
            gallery that the teacher made. It needs the objective ``embedding`` and embeddings of the teacher's
            dimension; the architecture ``projected`` gives any network the dimension it needs.
    """

    trains: ClassVar[bool] = True

    training: Training = flat_field(Training)
    teaching: Teaching = flat_field(Teaching)
    teacher: _Named | tuple[_Named, ...]
    reduce: Mapping[Literal["discriminant", "pca"], Annotated[int, Ge(1)]] | None = None
    views: Annotated[int, Ge(1), Le(1000)] | None = None
    space: Literal["own", "teacher"] = "own"

    def __post_init__(self) -> None:
        if not self._named:
            raise BadInput("teacher: the list is empty; name a teacher")
        for number, named in enumerate(self._named):
            key = self._key(number)
            if len(named.keys() & {"checkpoint", "architecture"}) != 1:
                raise BadInput(
                    f"{key}.checkpoint: missing; name a .safetensors file or the folder of a finished run (or, "
                    f"instead, a pretrained network as {key}.architecture)"
                )
            if not isinstance(named.get("checkpoint", ""), str):
                raise BadInput(f"{key}.checkpoint: {named['checkpoint']!r} must be a path")
            size = named.get("image_size", 1)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise BadInput(f"{key}.image_size: {size!r} must be a number of pixels, 1 or more")
        pretrained = any(self._pretrained())
        if pretrained and self.teaching.logits is not None and self.teaching.logits.weight:
            raise BadInput(
                "logits: a pretrained teacher.architecture knows none of the data's classes; take embedding or "
                "relational, or a teacher.checkpoint trained on this data"
            )
        if self._joined and self.teaching.logits is not None and self.teaching.logits.weight:
            raise BadInput(
                "logits: a list, image_size or reduce joins the teachers' features alone; take embedding or relational"
            )
        if self.space == "teacher" and (pretrained or self._joined):
            raise BadInput(
                "space: teacher needs one teacher.checkpoint without image_size and reduce, whose gallery can be made; "
                "set it to own"
            )
        if not self.teaching.objectives():
            raise BadInput(
                "logits, embedding, features, relational: give one of them a weight above 0; without, use 'train'"
            )
        if self.space == "teacher" and not (self.teaching.embedding is not None and self.teaching.embedding.weight):
            raise BadInput("space: teacher needs the objective embedding with a weight above 0")
        if self.reduce is not None and len(self.reduce) != 1:
            raise BadInput("reduce: give one of discriminant and pca")
        if self.views is not None and self.training.mixing():
            raise BadInput(
                "views: mixup and cutmix mix each batch anew, so the teacher would have to see it; remove one of them"
            )

    def check(self, model: Model) -> Model:
        """Refuse a teacher that is missing, damaged, untrained or does not fit the student."""
        self.training.check(model)
        for number, architecture in enumerate(self._pretrained()):
            if architecture is not None:
                _refuse_fresh_weights(architecture, f"{self._key(number)}.architecture")
        teachers = self._teachers(model)
        for number, (named, teacher) in enumerate(zip(self._named, teachers, strict=True)):
            for key in ("size", "crop"):
                own, right = getattr(model.preprocess, key), getattr(teacher.preprocess, key)
                if own != right and (key == "crop" or "image_size" not in named):
                    raise BadInput(
                        f"{self._key(number)}.checkpoint: was trained on images of {key} {right}, the data has {own}"
                    )
        teacher = self._join(teachers, model)
        for method, dim in (self.reduce or {}).items():
            most = len(model.classes) - 1 if method == "discriminant" else teacher.embedding.dim
            if dim > most:
                reason = f"{len(model.classes)} classes differ" if method == "discriminant" else "the features vary"
                raise BadInput(
                    f"reduce.{method}: {reason} in {most} directions, not in {dim}; set it to {most} or less"
                )
            teacher = replace(teacher, embedding=replace(teacher.embedding, dim=dim))
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
            teacher=self._prepared(model, data, seed),
            # Accuracy says little about a shared space.
            by_loss=self.space == "teacher" or not self.teaching.classifies,
        )
        return replace(fitted.model, space=self._space())

    def inputs(self) -> Mapping[str, str]:
        from safetensors.torch import save

        found = {}
        for number, architecture in enumerate(self._pretrained()):
            if architecture is None:
                found[self._key(number)] = artifact_sha256(self._teacher_file(number))
            else:
                found[self._key(number)] = hashlib.sha256(save(architecture.build().state_dict())).hexdigest()
        return found

    def space_of(self) -> Model | None:
        return self._checkpoint() if self.space == "teacher" else None

    def _space(self) -> str | None:
        return space_id(self._checkpoint()) if self.space == "teacher" else None

    @property
    def _named(self) -> tuple[_Named, ...]:
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @property
    def _joined(self) -> bool:
        """Whether features are resized, concatenated or reduced, so that the teacher is no longer one network."""
        return isinstance(self.teacher, tuple) or self.reduce is not None or "image_size" in self.teacher

    def _key(self, number: int) -> str:
        return f"teacher.{number}" if isinstance(self.teacher, tuple) else "teacher"

    def _pretrained(self) -> list[Architecture | None]:
        """Of each teacher the architecture if the recipe names a pretrained network, otherwise None."""
        return [
            build_named(Architecture, named["architecture"], f"{self._key(number)}.architecture")
            if "architecture" in named
            else None
            for number, named in enumerate(self._named)
        ]

    def _prepared(self, student: Model, data: Data, seed: int) -> Model | Lesson | Callable[[], Model]:
        """What ``fit`` takes as teacher."""
        if self.reduce is None and self.views is None:
            return functools.partial(self._teacher, student)
        teacher = self._teacher(student)
        if self.reduce is not None:
            assert isinstance(teacher.network, JoinedTeachers)
            ((method, dim),) = self.reduce.items()
            features = plain_features(teacher, student, data).astype(np.float64)
            teacher.network.reduce(*fitted_reduction(method, dim, features, data.train.labels))
            teacher = replace(teacher, embedding=replace(teacher.embedding, dim=dim))
        if self.views is None:
            return teacher
        training = self.training
        images = self.teaching.seen(data)
        views = Views(self.views, len(images.train), seed, training.augmentation(), training.auto_augment)
        return make_lesson(teacher, student, images, views)

    def _teacher(self, student: Model) -> Model:
        """The teacher without its reduction."""
        return self._join(self._teachers(student), student)

    def _join(self, teachers: list[Model], student: Model) -> Model:
        """Several teachers, or one at another image size, as one network."""
        if not self._joined:
            return teachers[0]
        sizes = [
            (named["image_size"],) * 2 if "image_size" in named else student.preprocess.size for named in self._named
        ]
        network = JoinedTeachers(teachers, sizes, student.preprocess)
        spec = EmbeddingSpec(network.embedding_dim, distance="cosine")
        return Model(teachers[0].architecture, network, (), student.preprocess, spec)

    def _teachers(self, student: Model) -> list[Model]:
        """The teachers as named. Pretrained networks get the student's images, normalised as their weights expect."""
        found = []
        for number, architecture in enumerate(self._pretrained()):
            if architecture is None:
                found.append(self._checkpoint(number))
                continue
            normalisation = architecture.normalisation()
            assert normalisation is not None, "refused by check"
            mean, std = normalisation
            network = architecture.build()
            own = student.embedding.distance
            distance = own if own in architecture.distances else architecture.distances[0]
            preprocess = replace(student.preprocess, mean=mean, std=std)
            spec = EmbeddingSpec(network.embedding_dim, distance=distance)
            found.append(Model(architecture, network, (), preprocess, spec))
        return found

    def _checkpoint(self, number: int = 0) -> Model:
        try:
            return load_model(self._teacher_file(number))
        except BadInput as error:
            raise BadInput(f"{self._key(number)}.checkpoint: {error}") from error

    def _teacher_file(self, number: int) -> Path:
        path = Path(self._named[number]["checkpoint"])
        if path.is_dir():
            return last_checkpoint(path)
        if not path.is_file():
            raise BadInput(f"no file or folder at {path.resolve()}; run the teacher's recipe first")
        return path


def _refuse_fresh_weights(architecture: Architecture, key: str) -> None:
    """Raises BadInput if a tensor of the teacher depends on the seed, because such a tensor is not pretrained."""
    one, other = (_built_with(seed, architecture) for seed in (0, 1))
    fresh = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
    if fresh:
        raise BadInput(
            f"{key}: '{fresh[0]}' and {len(fresh) - 1} other tensors of "
            f"{architecture.component_name()} would be random; set pretrained: true where it has that option, or name "
            "a teacher.checkpoint"
        )


def _built_with(seed: int, architecture: Architecture) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build().state_dict()
