"""Supervised training with SGD; the defaults are OMCBIR's settings (Zhang et al. 2023, section 4.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from compress.contracts import BadInput, Data, Division, EmbeddingSpec, ImageSet, Loss, Model, Stage, component_field
from compress.data.answers import answerable, share_for_two
from compress.data.batches import batches
from compress.plugins import did_you_mean
from compress.stages._augment import Augmentation, step_generator
from compress.stages._graph import TrainingGraph, layout
from compress.stages._order import epoch_length, epoch_order
from compress.stages._schedules import Schedule, learning_rate
from compress.stages._team import Team, all_processes
from compress.system import memory
from compress.system.files import atomic
from compress.system.progress import Ticker, say, ticker
from validators.metrics import evaluate_retrieval

_EVALUATION_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """Minimise a loss over the training images and keep the weights with the best validation accuracy.

    Where the classes of the queries do not train (``Data.open_set``), or the loss teaches no classifier, the best
    weights are those with the highest mAP among the validation images, each searching all others.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step; the incomplete last batch of an epoch is left out.
        per_class: draw a batch as so many images of each of exactly ``batch_size / per_class`` classes, which the
            losses of metric learning need. An epoch has as many batches as one pass over all images; where classes
            differ in size, small ones repeat images, augmented differently, and a very large one shows a part of its
            images, another one each epoch. None draws images whatever their class.
        lr: peak learning rate.
        momentum: of SGD.
        weight_decay: L2 penalty on every parameter, as published.
        bn_sparsity: L1 penalty on the scales of batch normalisation, which drives those of needless channels to zero
            for ``prune: {importance: bn_scale}`` (network slimming, Liu et al. 2017, eq. 1; 1e-5 to 1e-4 there).
        clip_norm: longest gradient, over all parameters (L2); longer ones are shortened. None, as published, takes them
            as they are: with batches of 64 and a rate of 0.1 single gradients a hundred times the usual length were
            seen to ruin ALNet for good.
        schedule: how the learning rate falls, see ``_schedules``.
        loss: the objective.
        freeze: parts of the network that stay as they are, such as ``[trunk]``: their weights are not trained, and
            their batch normalisation keeps and uses its statistics.
        horizontal_flip: mirror half of the images.
        random_crop: shift by up to this many pixels.
        min_scale: zoom into a random part of at least this share of the area; 1 never zooms.
        rotation: turn by up to so many degrees either way.
        color_jitter: contrast and saturation change by a factor between 1 - this and 1 + this, brightness by up to this
            many standard deviations.
        blur: mix with the image under a Gaussian of so many pixels (its standard deviation), by a random share.
        noise: add Gaussian noise of up to so many standard deviations of the normalised image.
        erase: hide a random rectangle of up to this share of the area (random erasing, Zhong et al. 2020).
        accelerator: where to train; ``auto`` takes a GPU if there is one.
        precision: Lightning Fabric's name of the arithmetic.
    """

    trains: ClassVar[bool] = True
    parallel: ClassVar[bool] = True
    """Every process that torchrun started takes part; else the first trains alone."""

    epochs: Annotated[int, Ge(1)] = 200
    batch_size: Annotated[int, Ge(2)] = 128
    per_class: Annotated[int, Ge(2)] | None = None
    lr: Annotated[float, Gt(0)] = 0.1
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    bn_sparsity: Annotated[float, Ge(0)] = 0.0
    clip_norm: Annotated[float, Gt(0)] | None = None
    schedule: Schedule = "step"
    loss: Loss = component_field(Loss, default="cross_entropy")
    freeze: tuple[str, ...] = ()
    horizontal_flip: bool = False
    random_crop: Annotated[int, Ge(0)] = 0
    min_scale: Annotated[float, Gt(0), Le(1)] = 1.0
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0
    color_jitter: Annotated[float, Ge(0), Lt(1)] = 0.0
    blur: Annotated[float, Ge(0), Le(16)] = 0.0
    noise: Annotated[float, Ge(0)] = 0.0
    erase: Annotated[float, Ge(0), Lt(1)] = 0.0
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    def check(self, model: Model) -> Model:
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
        self._frozen(model.network)
        return model

    def check_data(self, division: Division) -> None:
        if self.per_class is not None:
            classes = len(np.unique(division.train))
            if classes * self.per_class < self.batch_size:
                raise BadInput(
                    f"per_class: a batch of {self.batch_size} holds {self.batch_size // self.per_class} classes, but "
                    f"{classes} train; set batch_size to {classes * self.per_class} or less"
                )
        ranked = division.open_set or not self.loss.classifies
        if ranked and not answerable(division.validation, division.validation, leave_one_out=True).any():
            share = share_for_two(np.concatenate([division.train, division.validation]))
            remedy = "add images" if share is None else f"set data.validation_share to {share} or more"
            raise BadInput(
                f"loss: {self.loss.component_name()} has the best weights chosen by searching, but no validation image "
                f"has another one of its class to find; {remedy}"
            )

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        return self.fit(model, data, seed=seed, scratch=scratch)

    def fit(self, model: Model, data: Data, *, seed: int, scratch: Path, teacher: Model | None = None) -> Model:
        """Train ``model`` in place of fresh weights and return it with the best weights.

        Args:
            teacher: what ``model`` was before the stage changed it that has it trained by this one.

        Raises:
            BadInput: the loss stopped being a finite number, or the processes cannot share a batch evenly.
        """
        from lightning_fabric import Fabric

        team = all_processes() if self.parallel else Team()
        if self._batch(data) % team.count:
            raise BadInput(
                f"{self.component_name()}.batch_size: {self._batch(data)} images cannot be shared evenly by "
                f"{team.count} processes; make it a multiple of {team.count}"
            )
        team.call((self, model, teacher, seed, data.fingerprint))
        options = team.fabric_options(self.loss.classifies)
        fabric = Fabric(accelerator=self.accelerator, precision=self.precision, **options)
        fabric.launch()
        torch.manual_seed(seed)  # weights of the objective
        graph = self._graph(model, teacher)
        graph.team = team
        graph.prepare(data.train)
        graph.freeze(self._frozen(model.network))
        optimizer = torch.optim.SGD(graph.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        training, optimizer = fabric.setup(layout(graph, torch.channels_last), optimizer)

        stage, state_file = self.component_name(), scratch / "state.pt"
        stored = torch.load(state_file, map_location="cpu", weights_only=True) if state_file.is_file() else None
        progress = _Progress.restored(team.firsts(stored), graph, optimizer)
        if progress.epoch:
            say(f"{stage}: resuming after epoch {progress.epoch} of {self.epochs}")
        steps = self.epochs * self._steps(data)
        with ticker(stage, steps, "steps") as bar, memory.kept(), team.synchronised(graph.network):
            bar.advance(progress.epoch * self._steps(data))
            while progress.epoch < self.epochs:
                line = self._epoch(fabric, training, optimizer, data, model.embedding, seed, progress.epoch, bar)
                progress.finish_epoch(line, self._score(line), graph)
                if team.number == 0:
                    progress.save(state_file, graph, optimizer)
        graph.network.load_state_dict(progress.best_weights)
        network = layout(model.network.cpu(), torch.contiguous_format).requires_grad_(True)
        return replace(
            model,
            network=network,
            history=(*model.history, *progress.history),
            space=self._space(),
            ranges=self._ranges(graph),
        )

    def _graph(self, model: Model, teacher: Model | None) -> TrainingGraph:
        return TrainingGraph(model, self._augmentation(), self.loss)

    def _frozen(self, network: nn.Module) -> list[nn.Module]:
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

    def _augmentation(self) -> Augmentation:
        return Augmentation(**{option.name: getattr(self, option.name) for option in fields(Augmentation)})

    def _score(self, line: Mapping[str, Any]) -> float:
        """How good an epoch's weights are, given what it logs; the best are kept."""
        return float(line["validation_mAP"] if "validation_mAP" in line else line["validation_accuracy"])

    def _space(self) -> str | None:
        """``Model.space`` after this stage: training away from a teacher leaves its space."""
        return None

    def _ranges(self, graph: TrainingGraph) -> Mapping[str, tuple[float, float]]:
        """``Model.ranges`` after this stage: other weights, other activations."""
        return {}

    def _steps(self, data: Data) -> int:
        """Of an epoch."""
        return epoch_length(data.train.labels, self._batch(data), self.per_class)

    def _batch(self, data: Data) -> int:
        return self.batch_size if self.per_class else min(self.batch_size, len(data.train))

    def _epoch(
        self,
        fabric: Any,
        training: nn.Module,
        optimizer: torch.optim.Optimizer,
        data: Data,
        embedding: EmbeddingSpec,
        seed: int,
        epoch: int,
        bar: Ticker,
    ) -> dict[str, Any]:
        stage, batch_size = self.component_name(), self._batch(data)
        steps = self._steps(data)
        random = np.random.Generator(np.random.PCG64([seed, epoch]))
        order = epoch_order(data.train.labels, batch_size, self.per_class, random)[: steps * batch_size]
        torch.manual_seed(seed * 1_000_003 + epoch)  # dropout
        training.train()
        started, loss_sum = time.monotonic(), torch.zeros((), device=fabric.device)
        for number, (images, labels) in enumerate(batches(data.train, batch_size, order)):
            step = epoch * steps + number
            rate = learning_rate(self.schedule, self.lr, step, self.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, _ = training(*_to_device(images, labels, fabric.device), step_generator(seed, step))
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            self._add_sparsity(training)
            if self.clip_norm is not None:
                fabric.clip_gradients(training, optimizer, max_norm=self.clip_norm)
            optimizer.step()
            loss_sum += loss.detach()
            bar.advance(1, f"epoch {epoch + 1}/{self.epochs}")
        seconds = time.monotonic() - started
        mean_loss = float(loss_sum) / steps
        if not np.isfinite(mean_loss):
            raise BadInput(f"{stage}.lr: {self.lr} made the loss {mean_loss} in epoch {epoch + 1}; lower {stage}.lr")
        if mean_loss == 0:
            say(f"{stage}: the loss of epoch {epoch + 1} is 0: nothing was learnt; change {stage}.loss")
        measured = (
            {"validation_mAP": _mean_average_precision(training, data.validation, embedding, fabric.device)}
            if data.open_set or not self.loss.classifies
            else {"validation_accuracy": _accuracy(training, data.validation, fabric.device)}
        )
        ((name, value),) = measured.items()
        say(
            f"{stage}: epoch {epoch + 1}/{self.epochs}  loss {mean_loss:.4f}  {name.replace('_', ' ')} {value:.4f}  "
            f"{steps * batch_size / seconds:,.0f} images/s"
        )
        return {"stage": stage, "epoch": epoch + 1, "loss": mean_loss, **measured, "lr": rate}

    def _add_sparsity(self, training: nn.Module) -> None:
        """The subgradient of the L1 penalty, which is 0 at 0."""
        if self.bn_sparsity:
            for module in training.modules():
                if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad:
                    assert module.weight.grad is not None
                    module.weight.grad += self.bn_sparsity * module.weight.detach().sign()


def _to_device(images: np.ndarray, labels: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


@torch.no_grad()
def _evaluated(graph: nn.Module, images: ImageSet, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Embeddings [n, D] and number of right answers, batch by batch."""
    graph.eval()
    for batch, labels in batches(images, _EVALUATION_BATCH, np.arange(len(images))):
        yield graph(*_to_device(batch, labels, device))


def _accuracy(graph: nn.Module, images: ImageSet, device: torch.device) -> float:
    right = torch.zeros((), dtype=torch.int64, device=device)
    for _, count in _evaluated(graph, images, device):
        right += count
    return int(right) / len(images)


def _mean_average_precision(
    graph: nn.Module, images: ImageSet, embedding: EmbeddingSpec, device: torch.device
) -> float:
    """Leave-one-out; 0 where the embeddings cannot be ranked, as those of a network that has just diverged."""
    features = torch.cat([embeddings for embeddings, _ in _evaluated(graph, images, device)]).float().cpu().numpy()
    try:
        scores = evaluate_retrieval(
            features, features, images.labels, images.labels, distance=embedding.distance, exclude_self=True
        )
    except ValueError:
        return 0.0
    return scores["mAP"]


class _Progress:
    """What a run killed between two epochs needs to end with the same weights."""

    def __init__(self) -> None:
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best_score = -np.inf
        self.best_weights: dict[str, torch.Tensor] = {}

    def finish_epoch(self, line: dict[str, Any], score: float, graph: TrainingGraph) -> None:
        self.epoch += 1
        self.history.append(line)
        if score >= self.best_score or not self.best_weights:  # of equal epochs the later one has learnt longer
            self.best_score = score
            self.best_weights = {name: t.detach().cpu().clone() for name, t in graph.network.state_dict().items()}

    def save(self, path: Path, graph: TrainingGraph, optimizer: torch.optim.Optimizer) -> None:
        state = {"progress": vars(self), "graph": graph.state_dict(), "optimizer": optimizer.state_dict()}
        with atomic(path) as unfinished:
            torch.save(state, unfinished)

    @classmethod
    def restored(
        cls, state: Mapping[str, Any] | None, graph: TrainingGraph, optimizer: torch.optim.Optimizer
    ) -> _Progress:
        """What ``save`` wrote, where that was before; None begins."""
        progress = cls()
        if state is not None:
            graph.load_state_dict(state["graph"])
            optimizer.load_state_dict(state["optimizer"])
            vars(progress).update(state["progress"])
        return progress
