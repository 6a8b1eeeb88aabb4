"""Structured pruning: remove whole channels, then train the smaller network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

from compress import plugins
from compress.contracts import BadInput, Data, Division, Exporter, Latencies, MeasuredStage, Model, Stage, only_field
from compress.contracts.networks import RetrievalNetwork
from compress.pruning.bundles import Bundle
from compress.pruning.importance import Criterion
from compress.pruning.latency import least_ratio
from compress.pruning.measures import SIZES, measure
from compress.pruning.plan import Prunable, Scope, choose_share, choose_size, largest_share, prunable
from compress.pruning.probing import with_gradients
from compress.pruning.sensitivity import sensitivity
from compress.pruning.shapes import changed_shapes
from compress.stages.finetune import Finetune
from compress.system.progress import say

Share = Annotated[float, Ge(0), Lt(1)]
Size = Annotated[float, Gt(0)]


@dataclass(frozen=True, kw_only=True)
class Prune(MeasuredStage):
    """Remove the least important channels, in one or several steps, each followed by training.

    Give one of ``ratio``, ``params``, ``macs``, ``bytes`` and ``latency``, or ``per_layer`` alone. A size above 1 is a
    number; a size up to 1 is a share of the network that enters the stage.

    Attributes:
        ratio: share of the prunable channels to remove.
        params: largest number of parameters, the classifier's included.
        macs: largest number of multiply-accumulates for one image of the recipe's size.
        bytes: largest size of the exported fp32 file, estimated as four bytes for each parameter of the headless
            network with batch normalisation folded.
        latency: largest latency of an exported fp32 file on its runtime on this machine, one image on one thread, all
            channels removed at once; milliseconds if above 1, up to 1 a share of the latency of the network that enters
            the stage. The ``ratio`` that was found is recorded in the metrics and in the bundle's recipe; if a recipe
            gives it together with ``latency``, nothing is measured again.
        latency_format: the exporter of that file.
        per_layer: layer name -> share of its channels to remove, independent of the other layers.
        importance: l1, l2 (filter norms), bn_scale (network slimming; train with ``bn_sparsity``), fpgm (geometric
            median) or taylor (loss change, over ``taylor_images``).
        scope: ``global`` compares channels over the whole network, ``layer`` takes the same share of each layer.
        multiple_of: each layer keeps a multiple of this many channels, if it has at least twice as many.
        prune_embedding: also remove values of the embedding.
        steps: number of prune-and-fine-tune rounds; each removes an equal part of the target.
        finetune: options of ``finetune`` for the epochs after each step; without it the network is not trained after
            pruning. An objective uses the network that enters the stage as teacher.
        taylor_images: number of training images whose gradients ``taylor`` uses.
        sensitivity: shares by which each layer is pruned alone and without training, to measure the effect; written to
            the metrics before anything is pruned.
        sensitivity_images: number of validation images used to measure it.
    """

    ratio: Share | None = None
    params: Size | None = None
    macs: Size | None = None
    bytes: Size | None = None
    latency: Size | None = None
    latency_format: str = "tflite"
    per_layer: Mapping[str, Share] | None = None
    importance: Criterion = "l2"
    scope: Scope = "global"
    multiple_of: Annotated[int, Ge(1)] = 8
    prune_embedding: bool = False
    steps: Annotated[int, Ge(1)] = 1
    finetune: Finetune | None = only_field(Stage, "finetune")
    taylor_images: Annotated[int, Ge(1)] = 512
    sensitivity: tuple[Annotated[float, Gt(0), Lt(1)], ...] = ()
    sensitivity_images: Annotated[int, Ge(1)] = 500

    def __post_init__(self) -> None:
        given = [name for name in ("ratio", *SIZES) if getattr(self, name) is not None]
        if self.latency is not None and "ratio" not in given:  # a ratio next to it was found by an earlier measurement
            given.append("latency")
        if len(given) > 1:
            raise BadInput(f"{' and '.join(given)}: give one of them")
        if not given and not self.per_layer:
            raise BadInput(f"ratio: missing; give it, or one of {', '.join(SIZES)}, latency or per_layer")
        if self.latency is not None and self.latency_format not in plugins.names(Exporter):
            plugins.find(Exporter, self.latency_format)  # the error lists the known ones

    def check(self, model: Model) -> Model:
        """The model with the shapes that the stage will give; by filter norms if the criterion needs images."""
        if self.prune_embedding and model.embedding.kind == "binary":
            raise BadInput("prune_embedding: the embedding is a code, whose bits go with model.bits; set it to false")
        if self.finetune is not None:
            self.finetune.check(model)
        if self.measures():
            return model  # only a measurement can tell the pruned shapes
        importance = "l2" if self.importance == "taylor" else self.importance
        found = self._prunable(model, model.network, importance)
        if self.ratio:
            found.require_some(f"ratio: {self.ratio}")
        return _smaller(model, found.without(self._chosen(found, found, model.preprocess.size, done=1.0)))

    def check_data(self, division: Division) -> None:
        if self.finetune is not None:
            self.finetune.check_data(division)

    def measures(self) -> str | None:
        return self.latency_format if self.latency is not None and self.ratio is None else None

    def measured(self, model: Model, data: Data, latencies: Latencies) -> Prune:
        assert self.latency is not None
        limit, found = self.latency, self._ranked(model, data)

        def latency(ratio: float) -> float:
            pruned = _smaller(model, found.without(choose_share(found, ratio, self.scope, self.per_layer)))
            before, after = latencies([model, pruned])
            say(f"prune: ratio {ratio:.3f}  {after:.2f} of {before:.2f} ms")
            return after if limit > 1 else after / before

        most = largest_share(found, self.per_layer)
        return replace(self, ratio=least_ratio(latency, limit, most, f"latency: {limit}"))

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        unpruned, size = model, model.preprocess.size
        found = start = self._ranked(model, data)
        lines = sensitivity(found, model, data.validation, self.sensitivity, self.sensitivity_images)
        model = _logged(model, *lines)
        for step in range(1, self.steps + 1):
            if step > 1:
                found = self._ranked(model, data)
            chosen = self._chosen(found, start, size, done=step / self.steps)
            model = _smaller(model, found.checked_without(chosen, torch.zeros(1, 3, *size)))
            sizes = measure(model.network, size)
            before = {f"{name}_before": value for name, value in measure(found.network, size).items()}
            model = _logged(model, {"step": step, **self._target(), **sizes, **before})
            say(f"prune: step {step}/{self.steps}  {sizes['params']:,} parameters, {sizes['macs']:,} MACs")
            if self.finetune is not None:
                model = _finetuned(self.finetune, model, unpruned, data, seed, scratch / f"step-{step}", step)
        return model

    def _target(self) -> dict[str, Any]:
        """The ratio that was found for the latency, if the stage has one, for the metrics."""
        return {} if self.latency is None else {"latency": self.latency, "ratio": self.ratio}

    def _ranked(self, model: Model, data: Data) -> Prunable[RetrievalNetwork]:
        network = model.network
        if self.importance == "taylor":
            network = with_gradients(model, data.train, self.taylor_images)
        return self._prunable(model, network, self.importance)

    def _prunable(self, model: Model, network: RetrievalNetwork, importance: str) -> Prunable[RetrievalNetwork]:
        return prunable(
            network,
            torch.zeros(1, 3, *model.preprocess.size),
            importance=importance,
            multiple_of=self.multiple_of,
            fix_embedding=not self.prune_embedding,
        )

    def _chosen(
        self,
        found: Prunable[RetrievalNetwork],
        start: Prunable[RetrievalNetwork],
        input_size: tuple[int, int],
        done: float,
    ) -> list[Bundle]:
        """What to remove now, so that the share ``done`` of the way from ``start`` to the target is reached."""
        own = {name: share * done for name, share in (self.per_layer or {}).items()}
        for what in SIZES:
            limit: float | None = getattr(self, what)
            if limit is not None:
                begin = measure(start.network, input_size)[what]
                target = limit if limit > 1 else limit * begin
                between = begin - (begin - target) * done

                def size(network: RetrievalNetwork, what: str = what) -> int:
                    return measure(network, input_size)[what]

                return choose_size(found, between, size, f"{what}: {limit}", self.scope, own, start)
        return choose_share(found, (self.ratio or 0.0) * done, self.scope, own, start)


def _smaller(model: Model, network: RetrievalNetwork) -> Model:
    dim = network.embedding_dim
    return replace(
        model,
        network=network,
        embedding=replace(model.embedding, dim=dim),
        pruned=changed_shapes(network, model.architecture.bare().build(len(model.classes))),
        space=model.space if dim == model.embedding.dim else None,
        ranges={},
    )


def _logged(model: Model, *lines: Mapping[str, Any]) -> Model:
    return replace(model, history=(*model.history, *({"stage": "prune", **line} for line in lines)))


def _finetuned(
    finetune: Finetune, model: Model, unpruned: Model, data: Data, seed: int, scratch: Path, step: int
) -> Model:
    """Train the smaller network; ``scratch`` holds its progress, so that a killed run resumes within this step."""
    scratch.mkdir(exist_ok=True)
    known = len(model.history)
    trained = finetune.taught_by(unpruned, model, data, seed=seed, scratch=scratch)
    lines = [{**line, "stage": "prune", "step": step} for line in trained.history[known:]]
    return replace(trained, history=(*model.history, *lines))


def prune_model(
    model: nn.Module,
    example_input: torch.Tensor,
    ratio: float,
    *,
    importance: str = "l2",
    scope: Scope = "global",
    multiple_of: int = 1,
    prune_embedding: bool = False,
) -> nn.Module:
    """Give a new, physically smaller network; ``model`` is not changed.

    At most ``ratio`` of the prunable channels are removed, least important first. Channels that are zero for every
    image are removed before any other; removing them does not change the output. Channels that can only be removed
    together (a depthwise pair, the branches of a sum, a feature map and its attention) count once. Grouped convolutions
    keep their number of groups, all of one size. The result is run and compared with ``model`` whose removed channels
    are zeros. A warning says so if nothing is removed.

    Args:
        model: a ``RetrievalNetwork``, or any module that torch.fx can trace. Channels that an operation without a rule
            reads are kept: a shuffle written in the module's code and not as ``ChannelShuffle``, a sum with a
            parameter, a normalisation over channels, layers with hooks or parametrizations.
        example_input: float32 [N, 3, H, W] that the model takes; only its shape matters.
        ratio: 0 up to, but not including, 1.
        importance: l1, l2, bn_scale, fpgm or taylor (which needs gradients in the model's parameters).
        scope: ``global`` compares channels over the whole network, in units of their layer's mean importance;
            ``layer`` removes the same share of each layer.
        multiple_of: each layer keeps a multiple of this many channels, if it has at least twice as many.
        prune_embedding: also remove values of the embedding; a classifier is adapted.

    Raises:
        BadInput: an unknown importance or scope, a ratio that would leave a layer or group empty, or a model that
            cannot be traced.
    """
    if scope not in ("global", "layer"):
        raise BadInput(f"scope: '{scope}' is not one of global, layer")
    if not isinstance(multiple_of, int) or multiple_of < 1:
        raise BadInput(f"multiple_of: {multiple_of!r} must be a whole number from 1 on")
    found = prunable(
        model, example_input, importance=importance, multiple_of=multiple_of, fix_embedding=not prune_embedding
    )
    chosen = choose_share(found, ratio, scope)
    if ratio > 0 and not chosen:
        warnings.warn(f"ratio: {ratio} removes nothing: {found.width()} channels can be removed", stacklevel=2)
    return found.checked_without(chosen, example_input)
