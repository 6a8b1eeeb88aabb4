"""torchvision's classification models as retrieval networks."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from architectures._network import PooledNetwork
from compress.torchvision_compat import import_torchvision


def torchvision_model(name: str, num_classes: int) -> Any:
    """``torchvision.models.<name>`` without trained weights; 0 classes makes a classifier to be left out."""
    import_torchvision()
    return getattr(importlib.import_module("torchvision.models"), name)(weights=None, num_classes=num_classes or 1)


def pooled(trunk: nn.Module, classifier: nn.Module, embedding_dim: int, num_classes: int) -> PooledNetwork:
    """The parts of a torchvision model around its global average pooling; 0 classes leave the classifier out."""
    return PooledNetwork(trunk, embedding_dim, classifier if num_classes else None)
