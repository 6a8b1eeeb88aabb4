"""Quantization-aware training: fine-tune with the rounding that a w8a8 file adds (Jacob et al., CVPR 2018)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from torch import fx, nn

from compress.contracts import BadInput, Data, Division, Model, Stage, flat_field
from compress.contracts.networks import RetrievalNetwork
from compress.data.batches import batches
from compress.data.calibration import DEFAULT
from compress.data.splits import even_choice
from compress.model.quantized_values import kind, stored_values, traced
from compress.stages._fit import fit, validation_map
from compress.stages._graph import TrainingGraph
from compress.stages._teaching import Teaching
from compress.stages._training import Training
from compress.system import history
from compress.system.progress import say

_BATCH = 64
_LEAST = 1e-3
"""Number of quantization steps in a range, as in the exporters."""

_SIGMOID = (0.0, 255 / 256)
"""The range that TFLite's kernels use for a sigmoid's output, even if the file has another one."""


@dataclass(frozen=True, kw_only=True)
class Qat(Stage):
    """Fine-tune with weights and activations rounded to 8 bits; gradients pass through the rounding unchanged.

    Weights are rounded symmetrically with one scale per output channel, so that folding batch normalisation does not
    change the rounding; activations are rounded asymmetrically with one range per value. The ranges are moving averages
    of each batch's smallest and largest value (section 3.1) and are saved with the weights: the ``w8a8`` exporters use
    them instead of calibrated ranges until a later stage changes the network. Batch normalisation keeps its statistics,
    because exporters fold them. The weights stay float, so other precisions are exported as usual. The classifier is
    not part of the files and is not rounded. An objective uses the float network as teacher for the quantized one. The
    other options are those of ``finetune``. If the network as it was, rounded with calibrated ranges, has a higher mAP
    among the validation images, it is kept unchanged, and a message says so.

    Attributes:
        range_momentum: share of the newest batch in the moving averages.
    """

    training: Training = flat_field(Training, epochs=2, lr=0.005, schedule="cosine")
    teaching: Teaching = flat_field(Teaching)
    range_momentum: Annotated[float, Gt(0), Le(1)] = 0.01

    def __post_init__(self) -> None:
        self.teaching.need_something()
        if self.teaching.features is not None:
            raise BadInput("features: needs a last layer that computes in float; take embedding")
        if self.training.precision != "32-true":
            raise BadInput(f"precision: {self.training.precision} rounds more than a w8a8 file does; qat needs 32-true")

    def check(self, model: Model) -> Model:
        self.teaching.check(model, model)
        self.training.check(model)
        return model

    def check_data(self, division: Division) -> None:
        self.training.check_data(division)

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        fitted = fit(
            "qat",
            self.training,
            model,
            data,
            seed=seed,
            scratch=scratch,
            teaching=self.teaching,
            teacher=model,
            by_loss=not self.teaching.classifies,
            wrap=lambda network: _Simulated(network, self.range_momentum),
            parallel=False,  # the ranges are those of one process's images
        )
        assert isinstance(fitted.trained, _Simulated)
        trained = validation_map(self.training, replace(model, network=fitted.trained), data)
        calibrated = self._calibrated(model, data, seed)
        kept = "calibration" if calibrated > trained else "training"
        line = {"stage": "qat", "kept": kept, "calibrated_mAP": calibrated, "trained_mAP": trained}
        history.record([*fitted.model.history, line])
        if kept == "training":
            return replace(fitted.model, ranges=fitted.trained.ranges(), history=(*fitted.model.history, line))
        say(
            f"qat: among the validation images calibration alone has mAP {calibrated:.4f}, training {trained:.4f}: the "
            "network stays as it was; lower qat.lr, or let it teach (qat.embedding)"
        )
        return replace(model, history=(*fitted.model.history, line))

    def _calibrated(self, model: Model, data: Data, seed: int) -> float:
        """The mAP of the network as it is, rounded with the extremes of calibration images as ranges."""
        simulated = _Simulated(copy.deepcopy(model.network), None)
        rows = even_choice(data.train.labels, min(DEFAULT, len(data.train)), seed)

        @torch.no_grad()
        def calibrate(graph: TrainingGraph, device: torch.device) -> None:
            ranges = [layer for layer in simulated.modules() if isinstance(layer, _LearnedRange)]
            for layer in ranges:
                layer.train()
            for images, labels in batches(data.train, _BATCH, rows):
                graph(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))
            for layer in ranges:
                layer.eval()

        return validation_map(self.training, replace(model, network=simulated), data, calibrate)


class _Simulated(RetrievalNetwork):
    """The network's own layers, with the rounding of a w8a8 file between and inside them.

    Children of ``body`` named ``PREFIX`` + node hold the ranges of the nodes.
    """

    PREFIX = "range_of_"

    def __init__(self, network: RetrievalNetwork, momentum: float | None) -> None:
        super().__init__()
        self.body = traced(network)
        for node in stored_values(self.body):
            sigmoid = kind(self.body, node) in ("sigmoid", "Sigmoid")
            self._insert(node, _FixedRange(*_SIGMOID) if sigmoid else _LearnedRange(momentum))
        for name, layer in list(self.body.named_modules()):
            if type(layer) in (nn.Conv2d, nn.Linear):
                self.body.set_submodule(name, _RoundedWeights(layer))
        self.body.recompile()
        self.embedding_dim, self.classifier = network.embedding_dim, network.classifier

    def _insert(self, node: fx.Node, rounding: nn.Module) -> None:
        name = self.PREFIX + node.name
        self.body.add_module(name, rounding)
        readers = list(node.users)
        with self.body.graph.inserting_after(node):
            rounded = self.body.graph.call_module(name, (node,))
        for reader in readers:
            reader.replace_input_with(node, rounded)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.body(x)
        return embedding

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The learnt ranges, by name of the node."""
        return {
            name.removeprefix(self.PREFIX): layer.learned()
            for name, layer in self.body.named_children()
            if isinstance(layer, _LearnedRange)
        }

    def prepare(self, images: Callable[[], torch.Tensor]) -> None:
        """Do nothing: the network is already trained."""

    def train(self, mode: bool = True) -> _Simulated:
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self


class _RoundedWeights(nn.Module):
    """A convolution or linear layer whose weights are rounded to -127…127 times a scale per output channel."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight: Any = self.layer.weight
        scale = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-9) / 127
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)
        result: torch.Tensor = torch.func.functional_call(self.layer, {"weight": rounded}, (x,))
        return result


class _FixedRange(nn.Module):
    """Round to 256 steps between ``low`` and ``high``; 0 is one of them. Values outside get no gradient."""

    limits: torch.Tensor

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.register_buffer("limits", torch.tensor([low, high]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = self.limits
        scale = (high - low).clamp(min=_LEAST) / 255
        zero_point = (-128 - low / scale).round().int()
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)


class _LearnedRange(_FixedRange):
    """In training, first move the range towards the batch's range; it always contains 0.

    Attributes:
        momentum: share of the newest batch; None keeps the extremes of all batches.
    """

    batches: torch.Tensor

    def __init__(self, momentum: float | None) -> None:
        super().__init__(0.0, 0.0)
        self.momentum = momentum
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            low, high = torch.aminmax(x.detach())
            found = torch.stack((low.clamp(max=0), high.clamp(min=0)))
            if self.momentum is None:
                found = torch.stack((torch.minimum(self.limits[0], found[0]), torch.maximum(self.limits[1], found[1])))
            else:
                found = torch.where(self.batches > 0, self.limits.lerp(found, self.momentum), found)
            self.limits.copy_(found)
            self.batches += 1
        return super().forward(x)

    def learned(self) -> tuple[float, float]:
        low, high = self.limits.tolist()
        return low, high
