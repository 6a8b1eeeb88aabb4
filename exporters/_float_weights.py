"""Layers whose weights stay in float in files with int8 weights: those whose rounding changes the embeddings most.

A few small layers cause most of the error: first and depthwise convolutions have few weights, and every later value
depends on them.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt, Lt

from compress.contracts import BadInput, DeployGraph
from exporters._by_error import evenly, relative_error, worst_first
from exporters._file_exporter import FileExporter

if TYPE_CHECKING:
    import numpy as np
    import torch

SWEEP_IMAGES = 32


@dataclass(frozen=True)
class FloatLayers:
    """The layers whose weights are to stay in float.

    Attributes:
        weights: name of the layer in the graph -> its weights, float32 [out, ...].
        images: number of images on which the errors were measured.
        values: number of weights of all layers.
        errors: layer -> error of the embeddings if only its weights are rounded, as ``relative_error``.
    """

    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    images: int = 0
    values: int = 0
    errors: Mapping[str, float] = field(default_factory=dict)

    def record(self, used: Collection[str]) -> dict[str, Any]:
        """Describe the choice as ``quantization`` of the file's metadata; empty without the option.

        Args:
            used: the layers whose weights the written file really holds in float.
        """
        if not self.errors:
            return {}
        kept = {name: int(values.size) for name, values in self.weights.items() if name in used}
        found = {
            "images": self.images,
            "kept": kept,
            "share": round(sum(kept.values()) / self.values, 6),
            "unused": [name for name in self.weights if name not in used],
            "errors": {name: round(error, 6) for name, error in self.errors.items()},
        }
        return {"quantization": {"float_weights": found}}


@dataclass(frozen=True, kw_only=True)
class FloatWeights(FileExporter):
    """An exporter whose files with int8 weights can keep the weights of a few layers in float.

    Class attributes:
        weight_only: the precisions that can.

    Attributes:
        float_weights: for ``w8`` (TFLite: also ``w8a32``), the share of the weights that may stay in float. Each
            layer's weights are rounded alone, and the error of the embeddings is measured on calibration images; the
            layers with the largest squared error per weight stay in float.
    """

    weight_only: ClassVar[frozenset[str]] = frozenset({"w8"})

    float_weights: Annotated[float, Gt(0), Lt(1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.float_weights is not None and self.precision not in self.weight_only:
            named = ", ".join(sorted(self.weight_only))
            raise BadInput(f"float_weights: is an option of {self.format} {named}, not of {self.precision}; remove it")

    @property
    def needs_calibration(self) -> bool:
        return super().needs_calibration or self.float_weights is not None

    def float_layers(self, graph: DeployGraph) -> FloatLayers:
        """Choose the layers of the graph whose weights stay in float; none without the option."""
        if self.float_weights is None:
            return FloatLayers()
        return chosen(graph, self.float_weights, spared=self.spared)

    def quantization(self, path: Path) -> dict[str, Any]:
        """The key ``quantization`` of a written file's metadata; empty if it has none."""
        from validators.file_metadata import read_metadata  # validators load NumPy

        return {key: value for key, value in read_metadata(path, self.format).items() if key == "quantization"}


def chosen(graph: DeployGraph, share: float, *, spared: int = 0) -> FloatLayers:
    """Choose the layers whose rounding changes the embeddings most per weight.

    Args:
        share: at most this share of all weights is chosen.
        spared: layers of at most this many weights are never rounded, so they are not chosen either.
    """
    from exporters._written import embedded

    assert graph.calibration is not None
    module, images = copy.deepcopy(graph.module), evenly(graph.calibration, SWEEP_IMAGES)
    layers = _layers(module)
    right = embedded(module, images)
    errors = {}
    for name, weight in layers.items():
        if weight.numel() > spared:
            exact, weight.data = weight.data, rounded(weight.data)
            errors[name] = relative_error(embedded(module, images), right)
            weight.data = exact
    total = sum(weight.numel() for weight in layers.values())
    left = share * total
    kept = {}
    for name in worst_first(errors, {name: layers[name].numel() for name in errors}):
        values = layers[name].detach().numpy()
        if values.size <= left:
            kept[name] = values
            left -= values.size
    return FloatLayers(kept, len(images), total, errors)


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """Round weights [out, ...] as all formats do: to int8 between -127 and 127, with one scale per output channel."""
    scale = weight.abs().flatten(1).amax(1).clamp(min=1e-9).div(127).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round() * scale


def _layers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of every convolution and linear layer; weights that layers share are listed once."""
    from torch import nn

    found: dict[int, tuple[str, torch.Tensor]] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            found.setdefault(id(layer.weight), (name, layer.weight))
    return dict(found.values())
