"""How much each channel class matters, by the criteria of the literature.

A class is scored by the layers that produce it (both the pointwise and the depthwise convolution of a pair, every
branch of a residual sum). Scores of different layers are compared in units of their layer's mean, see ``bundles``.
A class that is zero for every image scores 0, all others more than 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import nn

from compress.contracts import BadInput
from compress.plugins import did_you_mean
from compress.pruning.channels import Channels

Criterion = Literal["l1", "l2", "bn_scale", "fpgm", "taylor"]
CRITERIA: tuple[str, ...] = get_args(Criterion)

_SMALLEST = 1e-30
"""The score of a class whose criterion is 0 although the class is not zero for every image."""


def check_criterion(name: str) -> None:
    """Raises BadInput if no criterion has this name."""
    if name not in CRITERIA:
        raise BadInput(f"importance: '{name}' is not one of {', '.join(CRITERIA)}{did_you_mean(name, list(CRITERIA))}")


def class_scores(network: nn.Module, channels: Channels, criterion: str) -> dict[int, float]:
    """Compute the importance of each channel class: class -> 0 or more.

    - ``l1``, ``l2``: norm of the filters (Li et al., ICLR 2017).
    - ``bn_scale``: sum of |gamma| (network slimming, Liu et al., ICCV 2017); classes without batch normalisation score
      infinity, so that only those that are zero are removed.
    - ``fpgm``: distance to all other filters of the layer, small near their geometric median (He et al., CVPR 2019).
    - ``taylor``: |sum of weight x gradient|, the first-order change of the loss (Molchanov et al., CVPR 2019), from the
      gradients the parameters hold.

    Raises:
        BadInput: ``taylor`` is used and a parameter has no gradient.
    """
    terms = _of_batch_norms(network, channels) if criterion == "bn_scale" else _of_filters(network, channels, criterion)
    sums: dict[int, float] = {}
    for classes, values in terms:
        for number, value in zip(classes.tolist(), values.tolist(), strict=True):
            sums[number] = sums.get(number, 0.0) + value
    power = 0.5 if criterion == "l2" else 1.0
    missing = float("inf") if criterion == "bn_scale" else 0.0
    everything = {c for ids in channels.produced.values() for c in ids.tolist()}
    scores = {c: max(sums.get(c, missing) ** power, _SMALLEST) for c in everything}
    return {c: score if c in channels.live else 0.0 for c, score in scores.items()}


def _of_batch_norms(network: nn.Module, channels: Channels) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for name, classes in channels.carried.items():
        norm = network.get_submodule(name)
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d) and norm.affine:
            yield classes, norm.weight.detach().abs()


def _of_filters(network: nn.Module, channels: Channels, criterion: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for name, classes in channels.produced.items():
        weight: torch.Tensor = network.get_submodule(name).weight  # type: ignore[assignment]
        filters = weight.detach().double().flatten(1)
        if criterion == "l1":
            yield classes, filters.abs().sum(1)
        elif criterion == "l2":
            yield classes, filters.square().sum(1)
        elif criterion == "fpgm":
            yield classes, torch.cdist(filters, filters).sum(1)
        elif weight.grad is None:
            raise BadInput(f"importance: taylor needs gradients, and {name} has none; call backward() on a loss first")
        else:
            yield classes, (filters * weight.grad.detach().double().flatten(1)).sum(1).abs()
