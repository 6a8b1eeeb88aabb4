"""The linear layer that ends a network, for stages that fit it in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from compress.contracts import BadInput, ImageArray, Model
from compress.model.reference import embed


def linear_end(model: Model, remedy: str) -> tuple[nn.Conv2d, torch.Tensor, nn.Linear]:
    """The last layer of the network, its bias, and the classifier.

    Args:
        remedy: what such a layer could do, and what to set; the end of the error message.

    Raises:
        BadInput: the network does not end in a linear layer.
    """
    layer, classifier = model.network.linear_end(), model.network.classifier
    if layer is None or layer.bias is None or not isinstance(classifier, nn.Linear):
        raise BadInput(f"{model.architecture.component_name()} does not end in a linear layer that could {remedy}")
    return layer, layer.bias, classifier


def inputs_of(model: Model, layer: nn.Conv2d, images: ImageArray) -> np.ndarray:
    """What enters ``layer`` for each image: float64 [N, D]."""
    found: list[np.ndarray] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found.append(inputs[0].flatten(1).double().numpy())

    handle = layer.register_forward_pre_hook(keep)
    try:
        embed(model, images)
    finally:
        handle.remove()
    return np.concatenate(found)
