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
from torch.nn.utils.parametrize import is_parametrized

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
_WITH_RULE = frozenset({nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.Flatten, *_POINTWISE, *_POOLING})
_SIZED = frozenset({"reshape", "view", "unflatten"})
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
        self.node: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        return super().run_node(n)

    # ---------------------------------------------------------------------------------------------- modules

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        name = self.names[id(module)]
        if kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
            return self._unknown((*args, *kwargs.values()), lambda *a: module(*a, **kwargs))
        (x,) = args
        kind = type(module)
        if not has_rule(module):
            return self._unknown(args, module)
        if kind is nn.Conv2d and x.ids.dim() == 4 and _one_channel_each(x):
            return self._convolution(name, module, x)  # type: ignore[arg-type]
        if kind is nn.Linear and _one_channel_each(x, last=True):
            return self._linear(name, module, x)  # type: ignore[arg-type]
        if kind in (nn.BatchNorm2d, nn.BatchNorm1d) and _one_channel_each(x):
            return self._normalisation(name, module, x)  # type: ignore[arg-type]
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
        if kind in _POINTWISE:
            return _pointwise(x, module)
        if kind is nn.Flatten:
            return self._move(x, module)
        if kind in _POOLING and x.ids.dim() == 4 and _one_channel_each(x):
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
        if norm.running_mean is None or norm.running_var is None:  # each image's own statistics
            alive = torch.where(live, (scale != 0) | (bias != 0), bias != 0)
            return Tensor(x.ids, _spread(alive, alive, x.ids.shape).live)
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
        if name in ("cat", "concat", "concatenate"):
            return self._concatenated(args, kwargs)
        # A rule for one tensor holds if no parameter takes part, and the tensor comes first.
        alone = len(tensors) == 1 and len(args) > 0 and args[0] is x
        alone = alone and not any(isinstance(a, torch.Tensor) and a.numel() > 1 for a in _flat((args, kwargs)))
        if alone and name in _POINTWISE_NAMES:
            return _pointwise(x, lambda values: function(values, *args[1:], **kwargs))
        if alone and name in _REDUCING_NAMES:
            return self._reduced(x, lambda values: function(values, *args[1:], **kwargs))
        if alone and name in _MOVING_NAMES:
            return self._move(x, lambda values: function(values, *args[1:], **kwargs), written=self._writes_sizes())
        if name in _JOINING_NAMES and len(args) == 2 and not kwargs:
            return self._joined(name, *args)
        return self._unknown(tuple(_flat((args, kwargs))), function, (args, kwargs))

    def _joined(self, name: str, one: Any, other: Any) -> Tensor:
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            x, number = (one, other) if isinstance(one, Tensor) else (other, one)
            if isinstance(number, torch.Tensor):
                return self._with_parameter(name, x, number)
            zero_stays = "mul" in name or "div" in name or number == 0
            return x if zero_stays else Tensor(x.ids, torch.ones_like(x.live))
        if one.ids.dim() != other.ids.dim():  # axes of different meaning meet
            self.classes.fix(one)
            self.classes.fix(other)
        shape = torch.broadcast_shapes(one.ids.shape, other.ids.shape)
        live = one.live & other.live if "mul" in name else one.live | other.live
        if one.ids.dim() != other.ids.dim():
            return self._mixed((one, other), shape)
        if one.ids.dim() < 2 or one.ids.shape[1] == other.ids.shape[1]:
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

    def _with_parameter(self, name: str, x: Tensor, values: torch.Tensor) -> Tensor:
        """A sum or product with a parameter or buffer, which pruning does not cut: its channels are kept."""
        shape = torch.broadcast_shapes(x.ids.shape, values.shape)
        one_for_all = values.dim() < 2 or (values.dim() >= x.ids.dim() - 1 and values.shape[1 - x.ids.dim()] == 1)
        if values.numel() != 1 and not (one_for_all and values.dim() != 1 and x.ids.dim() == 4):
            self.classes.fix(x)
        zero_stays = "mul" in name or "div" in name
        live = x.live if zero_stays else torch.ones_like(x.live)
        return Tensor(x.ids.expand(shape), live.expand(shape))

    def _concatenated(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        given = kwargs["tensors"] if "tensors" in kwargs else args[0]
        dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
        parts = [part if isinstance(part, Tensor) else constant(part) for part in given]
        joined = Tensor(torch.cat([p.ids for p in parts], dim), torch.cat([p.live for p in parts], dim))
        if joined.ids.dim() != 4 or dim % 4 != 1:  # of positions, so that channels at the same place stay together
            for part in parts:
                if joined.ids.dim() == 4 and _one_channel_each(part) and _one_channel_each(parts[0]):
                    self.classes.join(first_position(parts[0].ids), first_position(part.ids))
                elif joined.ids.dim() > 2 or dim % joined.ids.dim() != 1:
                    self.classes.fix(part)
        return joined

    def _writes_sizes(self) -> bool:
        """Whether the network's code gives the operation at hand a size as a number, and not as read from a tensor."""
        if self.node is None or self.node.target not in _SIZED:
            return False
        given = _flat((self.node.args[1:], self.node.kwargs))
        first = 1 if self.node.target == "unflatten" else 0  # after the axis
        return any(isinstance(number, int) and number > 1 for number in given[first:])

    def _reduced(self, x: Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]) -> Tensor:
        """Reduce a tensor. Over positions each channel stays separate; over channels none of them may be removed."""
        shape = reduce(torch.zeros(()).expand(x.ids.shape)).shape
        if x.ids.dim() == 4 and shape[:2] == x.ids.shape[:2] and _one_channel_each(x):
            ids, live = _per_channel(x)
            return _spread(ids, live, shape)
        return self._mixed((x,), shape)

    def _move(self, x: Tensor, move: Callable[[torch.Tensor], Any], *, written: bool = False) -> Any:
        """Operations in the network's code that only move values; the code is written for this number of channels.

        Args:
            written: the code contains sizes as numbers.
        """
        if written:
            self.classes.fix(x)
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
        zeros: Any = fx.node.map_aggregate(call or (args, {}), _zeros)
        with torch.no_grad():
            output: Any = function(*zeros[0], **zeros[1])
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


def _zeros(value: Any) -> Any:
    return torch.zeros(value.ids.shape) if isinstance(value, Tensor) else value


def constant(values: torch.Tensor) -> Tensor:
    """A tensor of no layer's channels, such as the image or a parameter."""
    return Tensor(torch.full(values.shape, NOBODY), torch.ones(values.shape, dtype=torch.bool))


def has_rule(module: nn.Module) -> bool:
    """Whether a layer is exactly of a class with a rule, and computes what its class says.

    Hooks and parametrizations, such as weight normalisation, compute weights from other parameters, which nothing here
    would cut.
    """
    plain = not (module._forward_hooks or module._forward_pre_hooks or is_parametrized(module))
    return plain and (type(module) in _WITH_RULE or isinstance(module, OWN_RULE))


def _one_channel_each(x: Tensor, *, last: bool = False) -> bool:
    """Whether all positions hold the same channels: along axis 1, or along the last one."""
    if x.ids.dim() < 2:
        return False
    rows = x.ids if last or x.ids.dim() == 2 else x.ids.flatten(2).transpose(1, 2)
    rows = rows.flatten(0, -2)
    return bool((rows == rows[0]).all())


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
