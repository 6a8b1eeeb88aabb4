"""The one loop that trains: an optimizer over augmented batches, resumable after every epoch."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.contracts import BadInput, Data, EmbeddingSpec, ImageSet, Model
from compress.contracts.networks import RetrievalNetwork
from compress.data.batches import batches
from compress.stages._augment import step_generator
from compress.stages._average import Average
from compress.stages._batchnorm_momentum import keeping_up
from compress.stages._compatible import CompatibleGraph, OldGallery
from compress.stages._graph import TrainingGraph, layout
from compress.stages._lessons import Lesson
from compress.stages._optimizers import make_optimizer
from compress.stages._order import epoch_order
from compress.stages._schedules import learning_rate
from compress.stages._teaching import TaughtGraph, Teaching
from compress.stages._team import Team, all_processes
from compress.stages._training import Training
from compress.stages._tuples import MinedTuples
from compress.system import history, memory
from compress.system.files import atomic
from compress.system.progress import Ticker, say, ticker
from validators.metrics import evaluate_retrieval

_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes:
        model: the model with the best weights, in a new embedding space.
        trained: its network, or the network that ``wrap`` put around it, with the same weights.
    """

    model: Model
    trained: RetrievalNetwork


def fit(
    name: str,
    training: Training,
    model: Model,
    data: Data,
    *,
    seed: int,
    scratch: Path,
    teaching: Teaching | None = None,
    teacher: Model | Lesson | Callable[[], Model] | None = None,
    by_loss: bool = False,
    wrap: Callable[[RetrievalNetwork], RetrievalNetwork] | None = None,
    parallel: bool = True,
    tuples: MinedTuples | None = None,
    old: OldGallery | None = None,
) -> Fitted:
    """Train a copy of ``model``'s network; its best weights are those that score best on the validation images.

    Args:
        name: name of the stage, for messages and the history.
        scratch: folder that keeps the progress: a killed training resumes from it and ends with the same weights.
        teaching: what to learn from ``teacher`` in addition to the labels; give both or neither.
        teacher: the teacher, its outputs for every view, or a function that makes the teacher. The function is called
            after the seed is set, because building a network draws random numbers.
        by_loss: the best weights are those of the epoch with the lowest loss.
        wrap: builds, from the copied network, a network that shares its layers; the built network is trained.
        parallel: every process that torchrun started takes part; otherwise the first process trains alone.
        tuples: orders each epoch's images, by the embeddings that the network gives then; only if not ``parallel``.
        old: the gallery of an older model, which the network is to search; only without ``teaching``.

    Raises:
        BadInput: ``training.check_data`` refuses the images, the loss stopped being a finite number, or the processes
            cannot share a batch evenly.
    """
    from lightning_fabric import Fabric

    training.check_data(data.division)
    if teaching is not None:
        data = teaching.seen(data)
    team = all_processes() if parallel else Team()
    if training.batch(data) % team.count:
        raise BadInput(
            f"{name}.batch_size: {training.batch(data)} images cannot be shared evenly by "
            f"{team.count} processes; make it a multiple of {team.count}"
        )
    task = functools.partial(
        fit, name, training, model, seed=seed, teaching=teaching, teacher=teacher, by_loss=by_loss, wrap=wrap, old=old
    )
    team.call((task, data.fingerprint))
    options = team.fabric_options(training.loss.classifies)
    fabric = Fabric(accelerator=training.accelerator, precision=training.precision, **options)
    fabric.launch()
    network = copy.deepcopy(model.network)
    trained = network if wrap is None else wrap(network)
    torch.manual_seed(seed)  # weights of the objective
    taught_by = teacher() if callable(teacher) else teacher
    graph = _graph(training, replace(model, network=trained), teaching, taught_by, old)
    graph.team = team
    graph.prepare(data.train)
    graph.freeze(training.frozen(network))
    if training.freeze_statistics:
        graph.freeze_statistics()
    optimizer = make_optimizer(
        training.optimizer,
        training.optimizer_options,
        graph,
        network,
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    if training.compile:
        graph.compile_network()
    module, optimizer = fabric.setup(layout(graph, torch.channels_last), optimizer)
    average = None if training.ema is None else Average(graph.network, training.ema)

    def stepped() -> None:
        if average is not None:
            average.update(graph.network)

    state_file = scratch / "state.pt"
    stored = torch.load(state_file, map_location="cpu", weights_only=True) if state_file.is_file() else None
    progress = _Progress.restored(team.firsts(stored), graph, optimizer, average)
    if progress.epoch:
        say(f"{name}: resuming after epoch {progress.epoch} of {training.epochs}")
    steps = training.steps(data) if tuples is None else tuples.steps
    total = training.epochs * steps
    with (
        ticker(name, total, "steps") as bar,
        memory.kept(),
        keeping_up(graph.network, total),
        team.synchronised(graph.network),
    ):
        bar.advance(progress.epoch * steps)
        while progress.epoch < training.epochs and not progress.stalled(training.patience):
            random = np.random.Generator(np.random.PCG64([seed, progress.epoch]))
            order = _order(training, module, data, random, tuples, fabric.device)[: steps * training.batch(data)]
            line = _epoch(name, training, fabric, module, optimizer, stepped, data, seed, progress.epoch, order, bar)
            with nullcontext() if average is None else average.in_place(graph.network):
                line = _validated(name, training, line, module, data, model.embedding, fabric.device)
                measure = functools.partial(
                    _mean_average_precision, module, data.validation, model.embedding, fabric.device
                )
                history.epoch_ends(name, line["epoch"], training.epochs, measure)
                progress.finish_epoch(line, -line["loss"] if by_loss else _score(line), graph)
            if team.number == 0:
                progress.save(state_file, graph, optimizer, average)
                history.record([*model.history, *progress.history])
        if progress.epoch < training.epochs:
            say(f"{name}: stopped after epoch {progress.epoch}: no better score in {training.patience} epochs")
    trained.load_state_dict(progress.best_weights)
    network = layout(network.cpu(), torch.contiguous_format).requires_grad_(True)
    lines = (*model.history, *progress.history)
    return Fitted(replace(model, network=network, history=lines, space=None, ranges={}), trained)


def validation_map(
    training: Training,
    model: Model,
    data: Data,
    prepare: Callable[[TrainingGraph, torch.device], None] | None = None,
) -> float:
    """The leave-one-out mAP of ``model``'s network among the validation images; 0 if they cannot be ranked.

    Args:
        prepare: gets the network's graph in evaluation mode, and its device, before it is measured.
    """
    from lightning_fabric import Fabric

    device = Fabric(accelerator=training.accelerator, devices=1).device
    graph = TrainingGraph(model, training.augmentation(), training.loss).to(device).eval()
    if prepare is not None:
        prepare(graph, device)
    found = _mean_average_precision(graph, data.validation, model.embedding, device)
    graph.cpu()
    return found


def _graph(
    training: Training,
    model: Model,
    teaching: Teaching | None,
    teacher: Model | Lesson | None,
    old: OldGallery | None,
) -> TrainingGraph:
    augmentation, loss, ways = training.augmentation(), training.loss, (training.mixing(), training.policy())
    if old is not None:
        return CompatibleGraph(model, augmentation, loss, old, *ways)
    if teaching is None or teacher is None:
        return TrainingGraph(model, augmentation, loss, *ways)
    return TaughtGraph(model, augmentation, loss, teaching, teacher, *ways)


def _score(line: Mapping[str, Any]) -> float:
    """How good an epoch's weights are, from the values that it logged; higher is better."""
    return float(line["validation_mAP"] if "validation_mAP" in line else line["validation_accuracy"])


def _order(
    training: Training,
    graph: nn.Module,
    data: Data,
    random: np.random.Generator,
    tuples: MinedTuples | None,
    device: torch.device,
) -> np.ndarray:
    """The order of the training images in the epoch that begins: int64, indices into ``data.train``."""
    if tuples is None:
        return epoch_order(data.train.labels, training.batch(data), training.per_class, random)

    def features(rows: np.ndarray) -> np.ndarray:
        found = [embeddings for embeddings, _ in _evaluated(graph, data.train, device, rows)]
        return torch.cat(found).float().cpu().numpy()

    return tuples.order(random, features)


def _epoch(
    name: str,
    training: Training,
    fabric: Any,
    graph: nn.Module,
    optimizer: torch.optim.Optimizer,
    stepped: Callable[[], None],
    data: Data,
    seed: int,
    epoch: int,
    order: np.ndarray,
    bar: Ticker,
) -> dict[str, Any]:
    """Train for one epoch: its mean loss, learning rate and images per second; ``stepped`` follows each step."""
    batch_size = training.batch(data)
    steps = len(order) // batch_size
    torch.manual_seed(seed * 1_000_003 + epoch)  # dropout
    graph.train()
    warm_up = training.warmup_epochs * steps
    started, loss_sum = time.monotonic(), torch.zeros((), device=fabric.device)
    for number, (images, labels) in enumerate(batches(data.train, batch_size, order)):
        step = epoch * steps + number
        for group in optimizer.param_groups:
            rate = learning_rate(training.schedule, group["peak"], step, training.epochs * steps, warm_up)
            group["lr"] = rate
        first = number - number % training.accumulate
        together = min(training.accumulate, steps - first)
        rows = torch.from_numpy(order[number * batch_size : (number + 1) * batch_size])
        loss, _ = graph(*_to_device(images, labels, fabric.device), step_generator(seed, step), rows, epoch)
        if number == first:
            optimizer.zero_grad(set_to_none=True)
        loss_sum += loss.detach()
        bar.advance(1, f"epoch {epoch + 1}/{training.epochs}")
        fabric.backward(loss / together)
        if number + 1 < first + together:
            continue
        _add_sparsity(graph, training.bn_sparsity)
        if training.clip_norm is not None:
            fabric.clip_gradients(graph, optimizer, max_norm=training.clip_norm)
        optimizer.step()
        stepped()
    seconds = time.monotonic() - started
    mean_loss = float(loss_sum) / steps
    if not np.isfinite(mean_loss):
        raise BadInput(f"{name}.lr: {training.lr} made the loss {mean_loss} in epoch {epoch + 1}; lower {name}.lr")
    if mean_loss == 0:
        say(f"{name}: the loss of epoch {epoch + 1} is 0: nothing was learnt; change {name}.loss")
    return {"loss": mean_loss, "lr": rate, "images_per_second": steps * batch_size / seconds, "epoch": epoch + 1}


def _validated(
    name: str,
    training: Training,
    trained: Mapping[str, Any],
    graph: nn.Module,
    data: Data,
    embedding: EmbeddingSpec,
    device: torch.device,
) -> dict[str, Any]:
    """Score the weights on the validation images: the epoch's line in the history."""
    measured = (
        {"validation_mAP": _mean_average_precision(graph, data.validation, embedding, device)}
        if training.ranks(data)
        else {"validation_accuracy": _accuracy(graph, data.validation, device)}
    )
    ((score, value),) = measured.items()
    say(
        f"{name}: epoch {trained['epoch']}/{training.epochs}  loss {trained['loss']:.4f}  "
        f"{score.replace('_', ' ')} {value:.4f}  {trained['images_per_second']:,.0f} images/s"
    )
    return {"stage": name, "epoch": trained["epoch"], "loss": trained["loss"], **measured, "lr": trained["lr"]}


def _add_sparsity(graph: nn.Module, weight: float) -> None:
    """Add the subgradient of the L1 penalty, which is 0 at 0."""
    for layer in graph.modules() if weight else ():
        if isinstance(layer, nn.BatchNorm2d) and layer.weight.requires_grad:
            assert layer.weight.grad is not None
            layer.weight.grad += weight * layer.weight.detach().sign()


def _to_device(images: np.ndarray, labels: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


@torch.no_grad()
def _evaluated(
    graph: nn.Module, images: ImageSet, device: torch.device, rows: np.ndarray | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield, batch by batch, the embeddings [n, D] and the number of correct answers; of all images, or of ``rows``."""
    graph.eval()
    for batch, labels in batches(images, _EVALUATION_BATCH, np.arange(len(images)) if rows is None else rows):
        yield graph(*_to_device(batch, labels, device))


def _accuracy(graph: nn.Module, images: ImageSet, device: torch.device) -> float:
    right = torch.zeros((), dtype=torch.int64, device=device)
    for _, count in _evaluated(graph, images, device):
        right += count
    return int(right) / len(images)


def _mean_average_precision(
    graph: nn.Module, images: ImageSet, embedding: EmbeddingSpec, device: torch.device
) -> float:
    """Leave-one-out mAP; 0 if the embeddings cannot be ranked, e.g. when the network has just diverged."""
    features = torch.cat([embeddings for embeddings, _ in _evaluated(graph, images, device)]).float().cpu().numpy()
    try:
        scores = evaluate_retrieval(
            features, features, images.labels, images.labels, distance=embedding.distance, exclude_self=True
        )
    except ValueError:
        return 0.0
    return scores["mAP"]


class _Progress:
    """Everything that a run killed between two epochs needs to end with the same weights."""

    def __init__(self) -> None:
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best_score = -np.inf
        self.improved = 0  # the last epoch that was better than all before
        self.best_weights: dict[str, torch.Tensor] = {}

    def finish_epoch(self, line: dict[str, Any], score: float, graph: TrainingGraph) -> None:
        self.epoch += 1
        self.history.append(line)
        if score > self.best_score:
            self.improved = self.epoch
        if score >= self.best_score or not self.best_weights:  # of equal epochs the later one has learnt longer
            self.best_score = score
            self.best_weights = {name: t.detach().cpu().clone() for name, t in graph.network.state_dict().items()}

    def stalled(self, patience: int | None) -> bool:
        """Whether the last ``patience`` epochs were no better than an earlier one."""
        return patience is not None and self.epoch - self.improved >= patience

    def save(self, path: Path, graph: TrainingGraph, optimizer: torch.optim.Optimizer, average: Average | None) -> None:
        state = {"progress": vars(self), "graph": graph.state_dict(), "optimizer": optimizer.state_dict()}
        if average is not None:
            state["average"] = average.state()
        with atomic(path) as unfinished:
            torch.save(state, unfinished)

    @classmethod
    def restored(
        cls,
        state: Mapping[str, Any] | None,
        graph: TrainingGraph,
        optimizer: torch.optim.Optimizer,
        average: Average | None,
    ) -> _Progress:
        """Read what ``save`` wrote; None if there is no saved progress, so that training starts at epoch 1."""
        progress = cls()
        if state is not None:
            graph.load_state_dict(state["graph"])
            optimizer.load_state_dict(state["optimizer"])
            vars(progress).update(state["progress"])
            if average is not None:
                average.restore(state["average"])
        return progress
