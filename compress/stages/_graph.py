"""Everything of a training step that runs on the accelerator, as one module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from compress.contracts import ImageSet, Loss, Model, Preprocess
from compress.stages._augment import Augmentation
from compress.stages._mixing import Mixed, Mixing
from compress.stages._policies import AutoAugment
from compress.stages._team import Team

M = TypeVar("M", bound=nn.Module)

_PREPARING = 200


class TrainingGraph(nn.Module):
    """Takes uint8 images [N, H, W, 3] and labels int64 [N], gives the loss and the number of correct answers.

    In evaluation mode the images are not augmented, and the first output is the embeddings [N, D] instead of the loss.
    In training, every process of a team is given the same images, augments all of them alike, and passes on its share.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        model: Model,
        augmentation: Augmentation,
        loss: Loss,
        mixing: Mixing | None = None,
        policy: AutoAugment | None = None,
    ) -> None:
        super().__init__()
        self.mixing = mixing or Mixing()
        self.policy = policy
        self._compiled: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.network = model.network
        self.frozen: Sequence[nn.Module] = ()
        self.fixed: Sequence[nn.Module] = ()
        self.team = Team()
        self.loss = loss.build(model.embedding.dim, len(model.classes))
        self.augmentation = augmentation
        self.register_buffer("mean", per_channel(model.preprocess.mean), persistent=False)
        self.register_buffer("std", per_channel(model.preprocess.std), persistent=False)

    @torch.no_grad()
    def prepare(self, images: ImageSet) -> None:
        """Let the network initialise the weights that it sets from images, with at most 200 evenly spaced ones."""

        def some() -> torch.Tensor:
            rows = np.unique(np.linspace(0, len(images) - 1, _PREPARING).astype(np.int64))
            return self._normalised(torch.from_numpy(np.ascontiguousarray(images.images[rows])))

        self.eval()
        self.network.prepare(some)

    def freeze(self, parts: Sequence[nn.Module]) -> None:
        """Keep these parts of the network unchanged: weights and, in training mode, batch statistics."""
        self.frozen = tuple(part.requires_grad_(False) for part in parts)

    def freeze_statistics(self) -> None:
        """Keep the statistics of every batch normalisation of the network, and use them in training mode, too."""
        self.fixed = tuple(part for part in self.network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))

    def compile_network(self) -> None:
        """Compile the network by torch.compile when it is first used; the rest of a step stays as it is."""
        self._compiled = torch.compile(self.network.embed)

    def train(self, mode: bool = True) -> TrainingGraph:
        super().train(mode)
        for part in (*self.frozen, *self.fixed):
            part.eval()
        return self

    def forward(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator | None = None,
        rows: torch.Tensor | None = None,
        epoch: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As the class says.

        Args:
            generator: of the random changes; None changes nothing.
            rows: int64 [N], which training images these are, on the CPU; given in training.
            epoch: number of the epoch, from 0.
        """
        shown = self._normalised(images) if generator is None else self.changed(images, generator, rows, epoch)
        mixed = None
        if generator is not None and self.mixing:
            shown, mixed = self.mixing(shown, generator)
        if self.training:
            shown = self.team.share(shown)
        embeddings = self.network.embed(shown) if self._compiled is None else self._compiled(shown)
        logits = self.network.logits(embeddings)
        if self.training:
            embeddings, logits = self.team.gathered(embeddings), self.team.gathered(logits)
        right = (logits.argmax(dim=1) == labels).sum()
        if not self.training:
            return embeddings, right
        return self.objective(shown, embeddings, logits, labels, mixed, rows, epoch), right

    def changed(
        self, images: torch.Tensor, generator: torch.Generator, rows: torch.Tensor | None, epoch: int
    ) -> torch.Tensor:
        """The images, changed at random and normalised; arguments as of ``forward``."""
        if self.policy is not None:
            images = self.policy(images, generator)
        shown = self._normalised(images)
        return self.augmentation(shown, generator) if self.augmentation else shown

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        return normalised(images, self.mean, self.std)

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
        """The value that a step minimises.

        It gets this process's images as the network saw them, and the outputs, labels and rows of the whole batch.
        """
        loss: torch.Tensor = self.loss(embeddings, logits, labels)
        return loss if mixed is None else mixed.loss(loss, self.loss(embeddings, logits, labels[mixed.partners]))


def normalised(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, W, 3] as float32 [N, 3, H, W], normalised by mean and std [1, 3, 1, 1]."""
    # The permuted view of an NHWC batch is already channels-last, the fast layout for convolutions.
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def layout(module: M, memory_format: torch.memory_format) -> M:
    return module.to(memory_format=memory_format)  # type: ignore[call-overload,no-any-return]


def per_channel(values: tuple[float, ...]) -> torch.Tensor:
    """One value per RGB channel as float32 [1, 3, 1, 1]."""
    return torch.tensor(values).reshape(1, 3, 1, 1)


def renormalisation(given: Preprocess, wanted: Preprocess) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift, float32 [1, 3, 1, 1], from images normalised as ``given`` to images normalised as ``wanted``."""
    std = per_channel(wanted.std)
    return per_channel(given.std) / std, (per_channel(given.mean) - per_channel(wanted.mean)) / std
