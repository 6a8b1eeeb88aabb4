"""torchvision's classification models as retrieval networks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from architectures._network import PooledNetwork
from compress.contracts import MissingTool, Normalisation
from compress.system.torchvision import import_torchvision

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The normalisation with which torchvision's weights were trained."""


def torchvision_model(name: str, num_classes: int, *, pretrained: bool = False) -> Any:
    """Build ``torchvision.models.<name>``; with 0 classes or ``pretrained``, its classifier is not to be used.

    Raises:
        MissingTool: the pretrained weights are not on this machine and cannot be downloaded.
    """
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    if not pretrained:
        return models.get_model(name, weights=None, num_classes=num_classes or 1)
    weights = models.get_model_weights(name).DEFAULT
    try:
        return models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:  # no connection, or an incomplete file
        raise MissingTool(
            f"{name}.pretrained: {weights.url} cannot be fetched ({error}); connect to a network once, or put the file "
            f"into {Path(torch.hub.get_dir()) / 'checkpoints'}"
        ) from error


def pooled(trunk: nn.Module, classifier: nn.Module, embedding_dim: int, num_classes: int) -> PooledNetwork:
    """Join the parts of a torchvision model before and after its pooling; with 0 classes without the classifier."""
    return PooledNetwork(trunk, embedding_dim, classifier if num_classes else None)
