"""What a teacher gives for a fixed number of views of each training image, computed once and kept for later runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from compress.contracts import BadInput, Data, Model, Outputs
from compress.data.batches import batches
from compress.data.decode import default_cache_dir
from compress.model.identity import model_sha256
from compress.stages._augment import Augmentation
from compress.stages._graph import normalised, per_channel
from compress.stages._joined_teachers import JoinedTeachers
from compress.stages._policies import AutoAugment, Policy
from compress.stages._teacher import Teacher, compared
from compress.system import environment
from compress.system.files import atomic
from compress.system.progress import say, ticker

_VERSION = 1
"""To be raised when the same views or outputs are computed in another way."""
_BATCH = 50


@dataclass(frozen=True)
class Views:
    """Random changes of each training image that are the same in every epoch that shows them.

    Mirror images are not part of a view: they are drawn anew, because a teacher's features hardly differ for them.

    Attributes:
        count: number of views; epoch e shows view e modulo ``count``.
        images: number of training images.
    """

    count: int
    images: int
    seed: int
    augmentation: Augmentation
    policy: Policy | None

    def __call__(
        self, images: torch.Tensor, rows: torch.Tensor, view: int, mean: torch.Tensor, std: torch.Tensor
    ) -> torch.Tensor:
        """The view of training images uint8 [n, H, W, 3], normalised: float32 [n, 3, H, W]; ``rows`` int64 [n]."""
        unmirrored = replace(self.augmentation, horizontal_flip=False)
        policy = None if self.policy is None else AutoAugment(self.policy)
        shown = []
        for image, row in zip(images, rows.tolist(), strict=True):
            number = (self.seed * 1_000_003 + view) * self.images + row
            generator = torch.Generator().manual_seed(number % (2**63 - 1))
            changed = image[None] if policy is None else policy(image[None], generator)
            own = normalised(changed, mean, std)
            shown.append(unmirrored(own, generator) if unmirrored else own)
        return torch.cat(shown)

    def mirrored(self, shown: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mirror half of the images, if the augmentation does."""
        if not self.augmentation.horizontal_flip:
            return shown
        chosen = (torch.rand(len(shown), generator=generator) < 0.5).to(shown.device)
        return torch.where(chosen[:, None, None, None], shown.flip(3), shown)

    def described(self) -> list[Any]:
        """What decides a view's pixels, but for its number and the image."""
        return [self.images, self.seed, asdict(replace(self.augmentation, horizontal_flip=False)), self.policy]


@dataclass(frozen=True)
class Lesson:
    """The teacher's outputs for every view.

    Attributes:
        embeddings, logits, features: float32 [V, N, ...], as in ``Outputs``.
    """

    views: Views
    embeddings: np.ndarray
    logits: np.ndarray
    features: np.ndarray

    def dims(self) -> dict[str, int]:
        """Number of values of what the objectives compare, by ``Objective.of``."""
        return {"embedding": self.embeddings.shape[2], "features": self.features.shape[2]}

    def shown(
        self,
        images: torch.Tensor,
        rows: torch.Tensor,
        epoch: int,
        generator: torch.Generator,
        mean: torch.Tensor,
        std: torch.Tensor,
    ) -> torch.Tensor:
        """The images, uint8 [n, H, W, 3], as the epoch shows them, normalised: float32 [n, 3, H, W]."""
        return self.views.mirrored(self.views(images, rows, epoch % self.views.count, mean, std), generator)

    def outputs(self, rows: torch.Tensor, epoch: int, device: torch.device) -> Outputs:
        """Of the training images ``rows``, int64 [n], as the epoch shows them."""
        view, chosen = epoch % self.views.count, rows.cpu().numpy()
        parts = (self.embeddings, self.logits, self.features)
        return Outputs(*(torch.from_numpy(part[view, chosen]).to(device) for part in parts))


def make_lesson(teacher: Model, student: Model, data: Data, views: Views) -> Lesson:
    """The teacher's outputs for the views; those of joined teachers are reduced as they are."""
    found = [_outputs(teacher, student, data, views, view) for view in range(views.count)]
    features, logits = (np.stack([part[number] for part in found]) for number in (0, 1))
    network = teacher.network
    if not isinstance(network, JoinedTeachers):
        return Lesson(views, features, logits, features)
    reduced = [compared(network.reduced(torch.from_numpy(view)), teacher.embedding).numpy() for view in features]
    return Lesson(views, np.stack(reduced), logits, features)


def plain_features(teacher: Model, student: Model, data: Data) -> np.ndarray:
    """The joined teachers' features of the unchanged training images, before any reduction: float32 [N, D]."""
    return _outputs(teacher, student, data, None, 0)[0]


def _outputs(
    teacher: Model, student: Model, data: Data, views: Views | None, view: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits for one view, or for the unchanged images, from the cache where they are there."""
    file = default_cache_dir() / f"teacher-{_key(teacher, student, data, views, view)}.npz"
    try:
        with file.open("rb") as stream, np.load(stream) as stored:  # np.load leaves a damaged file open
            return stored["features"], stored["logits"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # not there, or damaged
    title = "unchanged images" if views is None else f"view {view + 1} of {views.count}"
    say(f"teacher: {title}, {len(data.train):,} images")
    features, logits = _computed(teacher, student, data, views, view)
    _keep(file, features, logits)
    return features, logits


def _computed(
    teacher: Model, student: Model, data: Data, views: Views | None, view: int
) -> tuple[np.ndarray, np.ndarray]:
    ask = Teacher(teacher, student.preprocess)
    mean, std = per_channel(student.preprocess.mean), per_channel(student.preprocess.std)
    found = []
    with ticker("teacher", len(data.train), "images") as bar:
        for start, (images, _) in zip(
            range(0, len(data.train), _BATCH), batches(data.train, _BATCH, np.arange(len(data.train))), strict=True
        ):
            pixels, rows = torch.from_numpy(images), torch.arange(start, start + len(images))
            shown = normalised(pixels, mean, std) if views is None else views(pixels, rows, view, mean, std)
            found.append(ask(shown))
            bar.advance(len(images))
    parts = [outputs.embeddings if outputs.features is None else outputs.features for outputs in found]
    return torch.cat(parts).float().numpy(), torch.cat([outputs.logits for outputs in found]).float().numpy()


def _key(teacher: Model, student: Model, data: Data, views: Views | None, view: int) -> str:
    """sha256 of everything that decides the outputs."""
    return hashlib.sha256(
        json.dumps(
            [
                _VERSION,
                _identity(teacher),
                asdict(student.preprocess),
                data.fingerprint,
                len(data.train),  # with or without unlabelled images
                None if views is None else [view, *views.described()],
                environment.versions(["torch", "torchvision"]),
            ],
            sort_keys=True,
        ).encode()
    ).hexdigest()[:32]


def _identity(teacher: Model) -> list[Any]:
    """What decides the teacher's features; a reduction is applied to them later."""
    network = teacher.network
    if isinstance(network, JoinedTeachers):
        return network.identity
    return [model_sha256(teacher), asdict(teacher.preprocess), teacher.embedding.distance]


def _keep(file: Path, features: np.ndarray, logits: np.ndarray) -> None:
    """Store the outputs for later runs; where that fails, only these lose time."""
    try:
        with atomic(file) as unfinished, unfinished.open("wb") as stream:
            np.savez(stream, features=features, logits=logits)
    except (OSError, BadInput) as error:
        say(f"teacher: its outputs are not kept for later runs: {error}")
