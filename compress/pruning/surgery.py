"""Remove channels from a network's layers.

Every tensor keeps its remaining channels in their old order. So a weight keeps some of its rows and columns, a
concatenation or a sum needs no change, and only parts that are defined by channel numbers change: groups, shuffles and
splits.
"""

from __future__ import annotations

import copy
from collections.abc import Set
from typing import Any, TypeVar

import torch
from torch import nn

from architectures.layers.blocks import ChannelPermutation, ChannelShuffle, ChannelSplit
from architectures.layers.cbam import SpatialAttention
from compress.contracts.networks import RetrievalNetwork
from compress.pruning.channels import Channels

N = TypeVar("N", bound=nn.Module)


def remove_channels(network: N, channels: Channels, removed: Set[int]) -> N:
    """Copy ``network`` without the classes ``removed``; the sets of ``bundles`` keep its groups equal.

    Up to float rounding, the copy computes what ``network`` computes with those channels set to zero.
    """
    small = copy.deepcopy(network)

    def kept(classes: torch.Tensor) -> torch.Tensor:
        """The positions that are kept, int64."""
        gone = torch.tensor(sorted(removed), dtype=torch.int64)
        return (~torch.isin(classes, gone)).nonzero().flatten()

    for name, classes in channels.produced.items():
        layer = small.get_submodule(name)
        if isinstance(layer, nn.Conv2d):
            if name in channels.depthwise:
                _cut_depthwise(layer, kept(classes))
            else:
                _cut_convolution(layer, kept(channels.read[name]), kept(classes))
        elif isinstance(layer, nn.Linear):
            _cut_linear(layer, kept(channels.read[name]), kept(classes))
    for name, classes in channels.carried.items():
        layer, stay = small.get_submodule(name), kept(classes)
        if len(stay) == len(classes):
            continue
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            _cut_normalisation(layer, stay)
        elif isinstance(layer, SpatialAttention):
            _cut_attention(layer, len(stay) / len(classes))
        elif isinstance(layer, ChannelSplit):
            layer.first = int((stay < layer.first).sum())
        elif isinstance(layer, ChannelShuffle | ChannelPermutation):
            parent, _, own = name.rpartition(".")
            setattr(small.get_submodule(parent), own, _cut_shuffle(layer, stay, len(classes)))
    if isinstance(small, RetrievalNetwork):
        small.embedding_dim = len(kept(channels.embedding))
    return small


def _cut_convolution(conv: nn.Conv2d, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
    rows = outputs.reshape(conv.groups, -1)
    columns = (inputs % (conv.in_channels // conv.groups)).reshape(conv.groups, -1)
    weight = torch.cat([conv.weight[r][:, c] for r, c in zip(rows, columns, strict=True)])
    conv.in_channels, conv.out_channels = len(inputs), len(outputs)
    _replace(conv, "weight", weight)
    if conv.bias is not None:
        _replace(conv, "bias", conv.bias[outputs])


def _cut_depthwise(conv: nn.Conv2d, stay: torch.Tensor) -> None:
    conv.groups = conv.in_channels = conv.out_channels = len(stay)
    _replace(conv, "weight", conv.weight[stay])
    if conv.bias is not None:
        _replace(conv, "bias", conv.bias[stay])


def _cut_linear(linear: nn.Linear, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
    linear.in_features, linear.out_features = len(inputs), len(outputs)
    _replace(linear, "weight", linear.weight[outputs][:, inputs])
    if linear.bias is not None:
        _replace(linear, "bias", linear.bias[outputs])


def _cut_normalisation(norm: Any, stay: torch.Tensor) -> None:
    norm.num_features = len(stay)
    if norm.affine:
        _replace(norm, "weight", norm.weight[stay])
        _replace(norm, "bias", norm.bias[stay])
    if norm.running_mean is not None:
        norm.running_mean, norm.running_var = norm.running_mean[stay], norm.running_var[stay]


def _cut_attention(attention: SpatialAttention, share: float) -> None:
    """Adapt the attention, in whose mean and maximum the removed channels were zeros."""
    attention.floor = True
    with torch.no_grad():
        attention.conv.weight[:, 0] *= share


def _cut_shuffle(
    shuffle: ChannelShuffle | ChannelPermutation, stay: torch.Tensor, width: int
) -> ChannelShuffle | ChannelPermutation:
    order = shuffle(torch.arange(width).reshape(1, width, 1, 1)).flatten()  # output position -> input position
    place = torch.full((width,), -1).scatter(0, stay, torch.arange(len(stay)))
    index = place[order]
    index = index[index >= 0]
    if isinstance(shuffle, ChannelShuffle) and len(stay) % shuffle.groups == 0:
        plain = shuffle(torch.arange(len(stay)).reshape(1, -1, 1, 1)).flatten()
        if torch.equal(plain, index):
            return shuffle
    return ChannelPermutation(index).train(shuffle.training)


def _replace(module: nn.Module, name: str, values: torch.Tensor) -> None:
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(values.detach().clone().contiguous(), requires_grad=old.requires_grad))
