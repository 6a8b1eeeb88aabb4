"""The changes that pruning made to a network's layers, as JSON; with them ``build()`` gives the pruned shapes again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from architectures.layers.blocks import ChannelPermutation, ChannelShuffle, ChannelSplit
from architectures.layers.cbam import SpatialAttention
from compress.contracts import BadInput
from compress.contracts.networks import RetrievalNetwork

Shapes = Mapping[str, Mapping[str, int | bool]]
"""Layer name -> attribute -> value; the name of the network itself is empty."""

_MOST_PERMUTED = 1_000_000

_ATTRIBUTES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("in_channels", "out_channels", "groups"),
    nn.Linear: ("in_features", "out_features"),
    nn.BatchNorm2d: ("num_features",),
    nn.BatchNorm1d: ("num_features",),
    ChannelSplit: ("first",),
    SpatialAttention: ("floor",),
}


def changed_shapes(network: nn.Module, built: nn.Module) -> dict[str, dict[str, int | bool]]:
    """The changes with which ``restore_shapes`` turns the layers of ``built`` into those of ``network``."""
    original = dict(built.named_modules())
    changed: dict[str, dict[str, int | bool]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, ChannelPermutation):
            changed[name] = {"permuted": len(layer.index)}
            continue
        now, before = _attributes(layer, name), _attributes(original[name], name)
        if different := {key: value for key, value in now.items() if value != before.get(key)}:
            changed[name] = different
    return changed


def restore_shapes(network: nn.Module, shapes: Shapes) -> None:
    """Change the layers of a newly built network to the shapes of a pruned one, in place; their weights become unset.

    Raises:
        BadInput: the network does not have a layer or an attribute that ``shapes`` names.
    """
    layers = dict(network.named_modules())
    for name, values in shapes.items():
        layer = layers.get(name)
        known = {"permuted"} if isinstance(layer, ChannelShuffle) else _attributes(layer, name).keys()
        if layer is None or not values.keys() <= known:
            raise BadInput(
                f"pruned layer '{name}' with {', '.join(values)} does not fit {type(network).__name__.lstrip('_')}; "
                "the checkpoint belongs to another architecture or version"
            )
        _require_smaller(layer, name, values)
        if isinstance(layer, ChannelShuffle):
            parent, _, own = name.rpartition(".")
            permutation = ChannelPermutation(torch.arange(values["permuted"]))
            setattr(network.get_submodule(parent), own, permutation.train(layer.training))
            continue
        for key, value in values.items():
            setattr(layer, key, value)
        _allocate(layer)


def _require_smaller(layer: nn.Module, name: str, values: Mapping[str, int | bool]) -> None:
    """Raises BadInput for shapes that pruning cannot give: an untrusted file could request any amount of memory."""
    built = {"permuted": _MOST_PERMUTED} if isinstance(layer, ChannelShuffle) else _attributes(layer, name)
    for key, value in values.items():
        fits = type(value) is type(built[key]) and (isinstance(value, bool) or 0 < value <= built[key])
        if not fits:
            raise BadInput(
                f"pruned layer '{name}': {key} is {value!r}, built it is {built[key]}; the checkpoint is damaged"
            )


def _attributes(layer: nn.Module | None, name: str) -> dict[str, Any]:
    if name == "":
        return {"embedding_dim": layer.embedding_dim} if isinstance(layer, RetrievalNetwork) else {}
    names = next((names for kind, names in _ATTRIBUTES.items() if isinstance(layer, kind)), ())
    return {key: getattr(layer, key) for key in names}


def _allocate(layer: nn.Module) -> None:
    """Allocate parameters and statistics of the size that the layer's attributes give."""
    if isinstance(layer, nn.Conv2d):
        shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
        sizes = {"weight": shape, "bias": shape[:1]}
    elif isinstance(layer, nn.Linear):
        sizes = {"weight": (layer.out_features, layer.in_features), "bias": (layer.out_features,)}
    elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
        sizes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (layer.num_features,))
    else:
        return
    for key, shape in sizes.items():
        old = getattr(layer, key)
        if isinstance(old, nn.Parameter):
            setattr(layer, key, nn.Parameter(old.new_empty(shape), requires_grad=old.requires_grad))
        elif old is not None:
            setattr(layer, key, old.new_empty(shape))
