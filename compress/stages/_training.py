"""The options of a training, which every stage that trains has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from compress.contracts import BadInput, Component, Data, Division, Loss, Model, component_field
from compress.data.relevance import answerable, share_for_two
from compress.plugins import did_you_mean
from compress.stages._augment import Augmentation
from compress.stages._mixing import Mixing
from compress.stages._optimizers import DEFAULT_MOMENTUM, DEFAULT_RATE, check_optimizer, check_rates
from compress.stages._order import epoch_length
from compress.stages._policies import AutoAugment, Policy
from compress.stages._schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Training(Component):
    """How ``fit`` trains.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step; the incomplete last batch of an epoch is left out.
        per_class: images per class in a batch, drawn from exactly ``batch_size / per_class`` classes, as the losses of
            metric learning need. An epoch has as many batches as one pass over all images. If classes differ in size,
            small ones repeat images, augmented differently, and a very large one shows a different part of its images
            in each epoch. None draws images regardless of their class.
        lr: peak learning rate; ``{trunk: 0.01, rest: 0.1}`` gives parts of the network their own. ``rest``, 0.1 if it
            is not given, is for all others and for what a loss learns.
        optimizer: the class in ``torch.optim``, such as ``AdamW``.
        optimizer_options: further arguments of that class, such as ``{nesterov: true}`` or ``{betas: [0.9, 0.95]}``.
        momentum: momentum of optimizers that have it.
        weight_decay: L2 penalty on every parameter, as published.
        bn_sparsity: L1 penalty on the scales of batch normalisation, which drives the scales of unneeded channels to
            zero for ``prune: {importance: bn_scale}`` (network slimming, Liu et al. 2017, eq. 1; 1e-5 to 1e-4 there).
        clip_norm: largest norm of the gradient over all parameters (L2); a larger gradient is scaled down. None, as
            published, does not clip: with batches of 64 and a rate of 0.1, single gradients a hundred times larger
            than usual permanently ruined ALNet.
        schedule: how the learning rate falls, see ``_schedules``.
        warmup_epochs: the rate first rises linearly over this many epochs, which may be a fraction; ``one_cycle`` has
            its own rise.
        accumulate: an optimizer step after this many batches, with the mean of their gradients, as if the batch were
            that many times larger; the epoch's last step takes the batches that remain. Losses that compare images, and
            batch normalisation, still see one batch.
        ema: the exponential moving average of the weights, with this decay per optimizer step, is validated and kept
            instead of the weights; 0.99 to 0.9999. None keeps the weights.
        patience: stop after this many epochs without a better score; None trains all epochs. The schedule does not
            change.
        loss: the objective.
        freeze: parts of the network that are not changed, such as ``[trunk]``: their weights are not trained, and
            their batch normalisation keeps and uses its statistics.
        freeze_statistics: batch normalisation keeps and uses its statistics in the whole network, while its scales and
            shifts are trained. For a network with trained weights and few images, whose batches describe them badly.
        horizontal_flip: mirror half of the images.
        random_crop: shift by up to this many pixels.
        min_scale: zoom into a random part of at least this share of the area; 1 never zooms.
        rotation: rotate by up to this many degrees in either direction.
        color_jitter: contrast and saturation change by a factor between 1 - this and 1 + this, brightness by up to this
            many standard deviations.
        blur: mix the image, by a random share, with a copy blurred by a Gaussian of this standard deviation in pixels.
        noise: add Gaussian noise of up to this many standard deviations of the normalised image.
        auto_augment: ``trivial`` (TrivialAugment) or ``rand`` (RandAugment) of torchvision, before all other changes.
        mixup: mix each image and its label with another one's, by a share from Beta(a, a) with this a; 0 does not mix.
            Only for losses with a classifier.
        cutmix: paste a rectangle of another image, as large as a share from Beta(a, a), and mix the labels; with
            ``mixup``, half of the batches get each.
        erase: hide a random rectangle of up to this share of the area (random erasing, Zhong et al. 2020).
        accelerator: where to train; ``auto`` takes a GPU if there is one.
        precision: Lightning Fabric's name of the arithmetic.
        compile: compile the network with torch.compile, for GPUs; the first steps then take a minute.
    """

    epochs: Annotated[int, Ge(1)] = 200
    batch_size: Annotated[int, Ge(2)] = 128
    per_class: Annotated[int, Ge(2)] | None = None
    lr: Annotated[float, Gt(0)] | Mapping[str, Annotated[float, Gt(0)]] = DEFAULT_RATE
    optimizer: str = "SGD"
    optimizer_options: Mapping[str, Any] | None = None
    momentum: Annotated[float, Ge(0), Lt(1)] = DEFAULT_MOMENTUM
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    bn_sparsity: Annotated[float, Ge(0)] = 0.0
    clip_norm: Annotated[float, Gt(0)] | None = None
    schedule: Schedule = "step"
    warmup_epochs: Annotated[float, Ge(0)] = 0.0
    accumulate: Annotated[int, Ge(1)] = 1
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    patience: Annotated[int, Ge(1)] | None = None
    loss: Loss = component_field(Loss, default="cross_entropy")
    freeze: tuple[str, ...] = ()
    freeze_statistics: bool = False
    horizontal_flip: bool = False
    random_crop: Annotated[int, Ge(0)] = 0
    min_scale: Annotated[float, Gt(0), Le(1)] = 1.0
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0
    color_jitter: Annotated[float, Ge(0), Lt(1)] = 0.0
    blur: Annotated[float, Ge(0), Le(16)] = 0.0
    noise: Annotated[float, Ge(0)] = 0.0
    auto_augment: Policy | None = None
    mixup: Annotated[float, Ge(0)] = 0.0
    cutmix: Annotated[float, Ge(0)] = 0.0
    erase: Annotated[float, Ge(0), Lt(1)] = 0.0
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False

    def check(self, model: Model) -> None:
        """Raises BadInput if these options do not fit the network or the distance that compares its embeddings."""
        self.loss.check(model.network)
        if self.loss.distance not in (None, model.embedding.distance):
            raise BadInput(
                f"loss: {self.loss.component_name()} trains embeddings to be compared by {self.loss.distance}, not by "
                f"{model.embedding.distance}; set model.distance: {self.loss.distance}"
            )
        if self.per_class is not None and self.batch_size % self.per_class:
            raise BadInput(f"per_class: {self.per_class} does not divide batch_size {self.batch_size}; change one")
        if self.per_class == self.batch_size:
            raise BadInput(
                f"per_class: a batch of {self.batch_size} would hold one class alone, which teaches nothing; set "
                f"batch_size to {2 * self.per_class} or more"
            )
        self.frozen(model.network)
        check_optimizer(self.optimizer, self.optimizer_options, self.momentum)
        check_rates(self.lr, model.network)
        if (self.mixup or self.cutmix) and not self.loss.classifies:
            raise BadInput(
                f"{'mixup' if self.mixup else 'cutmix'}: {self.loss.component_name()} compares whole images and cannot "
                "learn from mixed ones; remove this option"
            )
        if self.warmup_epochs and (self.schedule == "one_cycle" or self.warmup_epochs >= self.epochs):
            reason = "one_cycle has its own rise" if self.schedule == "one_cycle" else f"only {self.epochs} epochs"
            raise BadInput(f"warmup_epochs: {self.warmup_epochs} does not fit: {reason}; remove this option")

    def check_data(self, division: Division) -> None:
        """Raises BadInput if no batch can be drawn from the images, or the best weights cannot be chosen with them."""
        if self.per_class is not None:
            classes = len(np.unique(division.train))
            if classes * self.per_class < self.batch_size:
                raise BadInput(
                    f"per_class: a batch of {self.batch_size} holds {self.batch_size // self.per_class} classes, but "
                    f"{classes} train; set batch_size to {classes * self.per_class} or less"
                )
        if self.ranks(division) and not answerable(division.validation, division.validation, leave_one_out=True).any():
            share = share_for_two(np.concatenate([division.train, division.validation]))
            remedy = "add images" if share is None else f"set data.validation_share to {share} or more"
            raise BadInput(
                f"loss: {self.loss.component_name()} has the best weights chosen by searching, but no validation image "
                f"has another one of its class to find; {remedy}"
            )

    def ranks(self, data: Data | Division) -> bool:
        """Whether ranking the validation images (mAP), and not accuracy, decides which weights are best."""
        return data.open_set or not self.loss.classifies

    def frozen(self, network: nn.Module) -> list[nn.Module]:
        """The parts that ``freeze`` names.

        Raises:
            BadInput: the network has no such part, or nothing would be left to train.
        """
        parts = {name: part for name, part in network.named_modules() if name}
        for name in self.freeze:
            if name not in parts:
                own = ", ".join(name for name, _ in network.named_children())
                near = did_you_mean(name, list(parts))
                raise BadInput(f"freeze: the network has no part '{name}'{near} (it has {own})")
        frozen = [parts[name] for name in self.freeze]
        if {*network.parameters()} <= {weights for part in frozen for weights in part.parameters()}:
            raise BadInput(f"freeze: {', '.join(self.freeze)} leave nothing to train; name fewer parts")
        return frozen

    def augmentation(self) -> Augmentation:
        return Augmentation(**{option.name: getattr(self, option.name) for option in fields(Augmentation)})

    def mixing(self) -> Mixing:
        return Mixing(self.mixup, self.cutmix)

    def policy(self) -> AutoAugment | None:
        return None if self.auto_augment is None else AutoAugment(self.auto_augment)

    def steps(self, data: Data) -> int:
        """Number of batches in an epoch."""
        return epoch_length(data.train.labels, self.batch(data), self.per_class)

    def batch(self, data: Data) -> int:
        """Number of images in a step."""
        return self.batch_size if self.per_class else min(self.batch_size, len(data.train))
