"""The rule of each operation: what it does to the channels of its inputs.

A shuffle, a concatenation or a split moves channel numbers as it moves values, so that permutations are followed
exactly. A convolution makes new channels, a sum joins channels, and an operation without a rule keeps all its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from architectures.layers.blocks import ChannelPermutation, ChannelShuffle, ChannelSplit
from architectures.layers.cbam import SpatialAttention
from compress.pruning.channels import NOBODY, Classes, Tensor, first_position

OWN_RULE = (ChannelPermutation, ChannelShuffle, ChannelSplit, SpatialAttention)
"""Modules with their own rule; the tracer does not look inside them."""

_POOLING = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.MaxPool2d, nn.ZeroPad2d)
_POINTWISE = (
    nn.Dropout,
    nn.Dropout2d,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Tanh,
)
_POINTWISE_NAMES = frozenset(
    {
        *("clamp", "clip", "dropout", "float", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "pow", "relu"),
        *("relu6", "sigmoid", "silu", "softplus", "stochastic_depth", "tanh"),
    }
)
_JOINING_NAMES = frozenset({"add", "mul", "sub", "truediv", "iadd", "imul", "div", "maximum", "minimum"})
_REDUCING_NAMES = frozenset({"mean", "amax", "amin", "sum", "adaptive_avg_pool2d"})
_MOVING_NAMES = frozenset(
    {
        *("chunk", "contiguous", "flatten", "getitem", "permute", "reshape", "split", "squeeze", "transpose"),
        *("unflatten", "unsqueeze", "view"),
    }
)


class Follower(fx.Interpreter):
    """Runs a graph on channel numbers.

    Args:
        classes: collects the channel classes that are found.
        names: id of a module -> its name in the network.
    """

    def __init__(self, graph: fx.GraphModule, classes: Classes, names: dict[int, str]) -> None:
        super().__init__(graph)
        self.classes = classes
        self.names = names

    # ---------------------------------------------------------------------------------------------- modules

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        name = self.names[id(module)]
        if kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
            return self._unknown((*args, *kwargs.values()), lambda *a: module(*a, **kwargs))
        (x,) = args
        if isinstance(module, nn.Conv2d):
            return self._convolution(name, module, x)
        if isinstance(module, nn.Linear):
            return self._linear(name, module, x)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            return self._normalisation(name, module, x)
        if isinstance(module, ChannelShuffle | ChannelPermutation):
            self._carry(name, x)
            return x.map(module)
        if isinstance(module, ChannelSplit):
            self._carry(name, x)
            return tuple(Tensor(i, v) for i, v in zip(module(x.ids), module(x.live), strict=True))
        if isinstance(module, SpatialAttention):
            self._carry(name, x)
            self.classes.reads(x)
            return x
        if isinstance(module, _POINTWISE):
            return _pointwise(x, module)
        if isinstance(module, nn.Flatten):
            return self._move(x, module)
        if isinstance(module, _POOLING):
            return _pooled(x, module)
        return self._unknown(args, module)

    def _convolution(self, name: str, conv: nn.Conv2d, x: Tensor) -> Tensor:
        ids, live = _per_channel(x)
        out, per_group = conv.out_channels, conv.in_channels // conv.groups
        sources = torch.arange(conv.in_channels).reshape(conv.groups, per_group)
        sources = sources.repeat_interleave(out // conv.groups, dim=0)  # [out, in of its group]
        alive = ((conv.weight.detach().flatten(2) != 0).any(2) & live[sources]).any(1)
        if conv.bias is not None:
            alive = alive | (conv.bias.detach() != 0)
        produced = self._layer(name, ids, out)
        if 1 < conv.groups == conv.in_channels == out:
            self.classes.found.depthwise.add(name)
            self.classes.join(ids, produced)
        else:
            self.classes.reads(x)
        shape = F.conv2d(
            torch.empty(x.ids.shape, device="meta"),
            torch.empty(conv.weight.shape, device="meta"),
            None,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
        ).shape
        return _spread(produced, alive, shape)

    def _linear(self, name: str, linear: nn.Linear, x: Tensor) -> Tensor:
        ids, live = (values.flatten(0, -2)[0] for values in (x.ids, x.live))
        alive = ((linear.weight.detach() != 0) & live).any(1)
        if linear.bias is not None:
            alive = alive | (linear.bias.detach() != 0)
        self.classes.reads(x)
        produced = self._layer(name, ids, linear.out_features)
        shape = (*x.ids.shape[:-1], linear.out_features)
        return Tensor(produced.expand(shape).clone(), alive.expand(shape).clone())

    def _layer(self, name: str, ids: torch.Tensor, out: int) -> torch.Tensor:
        """The output channels of a layer; if a layer is applied again, its channels are the same."""
        found = self.classes.found
        if name in found.produced:
            self.classes.join(found.read[name], ids)
        else:
            found.produced[name], found.read[name] = self.classes.new(out), ids
        return found.produced[name]

    def _normalisation(self, name: str, norm: nn.BatchNorm2d | nn.BatchNorm1d, x: Tensor) -> Tensor:
        self._carry(name, x)
        _, live = _per_channel(x)
        if norm.affine:
            scale, bias = norm.weight.detach(), norm.bias.detach()
        else:
            scale, bias = torch.ones(norm.num_features), torch.zeros(norm.num_features)
        assert norm.running_mean is not None and norm.running_var is not None
        shift = bias - scale * norm.running_mean / (norm.running_var + norm.eps).sqrt()
        # A channel with zero input still gives its shift.
        alive = torch.where(live, (scale != 0) | (bias != 0), shift != 0)
        return Tensor(x.ids, _spread(alive, alive, x.ids.shape).live)

    def _carry(self, name: str, x: Tensor) -> None:
        ids, _ = _per_channel(x)
        carried = self.classes.found.carried
        if name in carried:
            self.classes.join(carried[name], ids)
        carried.setdefault(name, ids)

    # -------------------------------------------------------------------------------------------- functions

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._call(target, target.__name__, args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def method(tensor: Any, *rest: Any, **named: Any) -> Any:
            return getattr(tensor, target)(*rest, **named)

        return self._call(method, str(target), args, kwargs)

    def _call(self, function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = [a for a in _flat((args, kwargs)) if isinstance(a, Tensor)]
        if not tensors:
            return function(*args, **kwargs)
        if name == "getitem" and not isinstance(args[0], Tensor):
            return function(*args)
        x = tensors[0]
        if name in ("getattr", "size", "dim"):
            return function(x.ids, *args[1:], **kwargs)
        if name == "cat":
            dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
            parts = args[0]
            return Tensor(torch.cat([p.ids for p in parts], dim), torch.cat([p.live for p in parts], dim))
        if len(tensors) == 1 and name in _POINTWISE_NAMES:
            return _pointwise(x, lambda values: function(values, *args[1:], **kwargs))
        if len(tensors) == 1 and name in _REDUCING_NAMES:
            return self._reduced(x, lambda values: function(values, *args[1:], **kwargs))
        if len(tensors) == 1 and name in _MOVING_NAMES and args[0] is x:
            return self._move(x, lambda values: function(values, *args[1:], **kwargs))
        if name in _JOINING_NAMES and len(args) == 2:
            return self._joined(name, *args)
        return self._unknown(tuple(_flat((args, kwargs))), function, (args, kwargs))

    def _joined(self, name: str, one: Any, other: Any) -> Tensor:
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            x, number = (one, other) if isinstance(one, Tensor) else (other, one)
            zero_stays = "mul" in name or "div" in name or number == 0
            return x if zero_stays else Tensor(x.ids, torch.ones_like(x.live))
        shape = torch.broadcast_shapes(one.ids.shape, other.ids.shape)
        live = one.live & other.live if "mul" in name else one.live | other.live
        if one.ids.shape[1] == other.ids.shape[1]:
            ids = one.ids.expand(shape)
            self.classes.join(ids, other.ids.expand(shape))
            if bool((ids == NOBODY).any() | (other.ids == NOBODY).any()):
                self.classes.fix(one)
                self.classes.fix(other)
            return Tensor(ids, live)
        # One value for all channels, such as a spatial attention: the wide tensor's channels remain.
        narrow, wide = (one, other) if one.ids.shape[1] == 1 else (other, one)
        self.classes.fix(narrow)
        self.classes.reads(narrow)
        return Tensor(wide.ids.expand(shape), live)

    def _reduced(self, x: Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]) -> Tensor:
        """Reduce a tensor. Over positions each channel stays separate; over channels none of them may be removed."""
        shape = reduce(torch.zeros(()).expand(x.ids.shape)).shape
        if x.ids.dim() == 4 and shape[:2] == x.ids.shape[:2]:
            ids, live = _per_channel(x)
            return _spread(ids, live, shape)
        return self._mixed((x,), shape)

    def _move(self, x: Tensor, move: Callable[[torch.Tensor], Any]) -> Any:
        """Operations in the network's code that only move values; the code is written for this number of channels."""
        ids, live = move(x.ids), move(x.live)
        if not isinstance(ids, torch.Tensor):
            self.classes.fix(x)
            return tuple(Tensor(i, v) for i, v in zip(ids, live, strict=True))
        in_place = ids.dim() > 1 and torch.equal(first_position(x.ids), first_position(ids))
        flattened = ids.dim() == 2 and torch.equal(ids, x.ids.flatten(1))
        if not in_place and not flattened:
            self.classes.fix(x)
        return Tensor(ids, live)

    def _unknown(self, args: tuple[Any, ...], function: Callable[..., Any], call: Any = None) -> Any:
        """An operation without a rule: none of its input channels may be removed."""
        tensors = tuple(a for a in args if isinstance(a, Tensor))
        meta: Any = fx.node.map_aggregate(call or (args, {}), _on_meta)
        output: Any = function(*meta[0], **meta[1])
        mixed: Any = fx.node.map_aggregate(output, lambda value: self._mixed_like(tensors, value))
        return mixed

    def _mixed_like(self, tensors: tuple[Tensor, ...], value: Any) -> Any:
        return self._mixed(tensors, value.shape) if isinstance(value, torch.Tensor) else value

    def _mixed(self, tensors: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        for tensor in tensors:
            self.classes.fix(tensor)
            self.classes.reads(tensor)
        return Tensor(torch.full(shape, NOBODY), torch.ones(shape, dtype=torch.bool))


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [item for part in value for item in _flat(part)]
    return [value]


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty(value.ids.shape, device="meta")
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def _per_channel(x: Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The channels of axis 1: their numbers, and whether any of their positions is live."""
    live = x.live.flatten(2).any(2)[0] if x.live.dim() > 2 else x.live[0]
    return first_position(x.ids), live


def _spread(ids: torch.Tensor, live: torch.Tensor, shape: torch.Size) -> Tensor:
    column = (1, len(ids), *[1] * (len(shape) - 2))
    return Tensor(ids.reshape(column).expand(shape), live.reshape(column).expand(shape))


def _pointwise(x: Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> Tensor:
    zero_stays = function(torch.zeros(1)).item() == 0
    return Tensor(x.ids, x.live if zero_stays else torch.ones_like(x.live))


def _pooled(x: Tensor, pool: nn.Module) -> Tensor:
    return _spread(*_per_channel(x), pool(torch.empty(x.ids.shape, device="meta")).shape)
