"""Running statistics of batch normalisation that keep up with a short training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_LARGEST = 0.1
"""PyTorch's default momentum; the initial statistics are forgotten within about fifty steps."""
_TIMES = 10
"""How often the statistics are renewed in a training: the initial values keep a weight of exp(-10)."""


@contextmanager
def keeping_up(network: nn.Module, steps: int) -> Iterator[None]:
    """Raise small momenta of batch normalisation while a training of ``steps`` steps runs.

    MobileNetV3 and EfficientNet have momentum 0.01, made for a million steps: after a hundred steps, the initial values
    still make up a third of the running statistics, so that a network that trains to loss 0 evaluates at chance.
    Momenta of 0.1 and more are not changed, nor any momentum if the training is long enough.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    own = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            if layer.momentum is not None and layer.momentum < _LARGEST:
                layer.momentum = max(layer.momentum, min(_LARGEST, _TIMES / max(1, steps)))
        yield
    finally:
        for layer, momentum in zip(layers, own, strict=True):
            layer.momentum = momentum
