"""Running statistics of batch normalisation that keep up with a short training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_LARGEST = 0.1
"""PyTorch's own momentum, which forgets its start within some fifty steps."""
_TIMES = 10
"""How often the statistics are renewed in a training: of their start exp(-10) is left."""


@contextmanager
def keeping_up(network: nn.Module, steps: int) -> Iterator[None]:
    """Raise small momenta of batch normalisation while a training of ``steps`` steps runs.

    MobileNetV3 and EfficientNet have momentum 0.01, made for a million steps: after a hundred, a third of the running
    statistics is still their start, so that a network that trains to loss 0 evaluates at chance. Momenta of 0.1 and
    more, and those of trainings that are long enough, stay as they are.
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
