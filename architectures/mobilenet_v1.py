"""MobileNets (Howard et al. 2017, arXiv:1704.04861), built from the paper's table 1 with batch normalisation and ReLU.

The copy of that table in "MobileNet deep hashing" repeats the 512-channel layer once instead of five times; the last
depthwise convolution has stride 1 (table 1 prints 2, which its own feature sizes contradict).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import nn

from architectures._network import PooledNetwork, linear_classifier
from architectures._weights import read_weights
from architectures.layers.blocks import conv_bn, initialize, tensorflow_conv_bn
from compress.contracts import Architecture, BadInput, Normalisation, newer_field
from compress.contracts.networks import RetrievalNetwork

# Output channels and stride of the 13 depthwise separable convolutions; the last value of the first column is D.
_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
_FEWEST_CHANNELS = 8


@dataclass(frozen=True, kw_only=True)
class MobileNetV1(Architecture):
    """MobileNetV1; the embedding has 1024 x ``width`` values.

    Attributes:
        width: the paper's multiplier alpha, 1.0, 0.75, 0.5 or 0.25 there; no layer gets fewer than 8 channels.
        stem_stride: 2 in the paper (total stride 32); 1 (total stride 16) suits 28 and 32 px images and agrees with
            OMCBIR's tables of MNIST and SVHN.
        tensorflow: build TensorFlow's variant (``slim``), which its published weights need: "same" padding, where
            convolutions of stride 2 pad at the bottom and right, ReLU6, and batch normalisation with epsilon 1e-3.
        weights: .safetensors or .pt with TensorFlow's published weights, to start from; sets ``tensorflow``. Tensors
            are named by TensorFlow's layers, ``Conv2d_0`` to ``Conv2d_13_pointwise``, each with ``conv.weight``
            [out, in, 3, 3] and ``bn.weight``, ``bn.bias``, ``bn.running_mean`` and ``bn.running_var``. They were
            trained on value / 127.5 - 1, so set ``data: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}``.
    """

    width: Annotated[float, Gt(0), Le(4)] = 1.0
    stem_stride: Literal[1, 2] = 2
    tensorflow: bool = newer_field(default=False)
    weights: str | None = newer_field(default=None)

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        tensorflow = self.tensorflow or self.weights is not None
        layer = functools.partial(
            tensorflow_conv_bn if tensorflow else conv_bn, activation=nn.ReLU6 if tensorflow else nn.ReLU
        )
        channels = self._scaled(32)
        layers = [layer(3, channels, 3, stride=self.stem_stride)]
        for count, stride in _LAYERS:
            out = self._scaled(count)
            layers += [layer(channels, channels, 3, stride=stride, groups=channels), layer(channels, out, 1)]
            channels = out
        network = PooledNetwork(nn.Sequential(*layers), channels, linear_classifier(channels, num_classes))
        initialize(network)
        if tensorflow:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = 1e-3
        if self.weights is not None:
            _load(layers, Path(self.weights))
        return network

    def bare(self) -> Architecture:
        return self if self.weights is None else replace(self, tensorflow=True, weights=None)

    def normalisation(self) -> Normalisation | None:
        return None if self.weights is None else ((0.5,) * 3, (0.5,) * 3)

    def _scaled(self, channels: int) -> int:
        return max(_FEWEST_CHANNELS, round(channels * self.width))


def _load(layers: list[nn.Sequential], path: Path) -> None:
    """Load TensorFlow's tensors into the layers, which are in TensorFlow's order."""
    stored = read_weights(path, "mobilenet_v1.weights")
    for layer, name in zip(layers, _tensorflow_names(), strict=True):
        convolution, normalisation = (part for part in layer if isinstance(part, nn.Conv2d | nn.BatchNorm2d))
        for part, prefix in ((convolution, "conv"), (normalisation, "bn")):
            own = {key: t for key, t in part.state_dict().items() if key != "num_batches_tracked"}
            for key, tensor in own.items():
                full = f"{name}.{prefix}.{key}"
                found = stored.get(full) if isinstance(stored, Mapping) else None
                if not isinstance(found, torch.Tensor) or found.shape != tensor.shape:
                    shape = list(found.shape) if isinstance(found, torch.Tensor) else "nothing"
                    raise BadInput(
                        f"mobilenet_v1.weights: {path}: '{full}' holds {shape}, the network needs {list(tensor.shape)}"
                    )
                tensor.copy_(found)


def _tensorflow_names() -> list[str]:
    pairs = [(f"Conv2d_{n}_depthwise", f"Conv2d_{n}_pointwise") for n in range(1, len(_LAYERS) + 1)]
    return ["Conv2d_0", *(name for pair in pairs for name in pair)]
