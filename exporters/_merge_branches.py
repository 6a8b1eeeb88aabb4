"""Merge parallel linear branches into one convolution: RepVGG (Ding et al., CVPR 2021), MobileOne, RepViT, FastViT.

In evaluation mode a sum of convolutions, batch normalisations and the input itself is one convolution, if all read the
same map. The graph is rewritten, whoever wrote the network and whatever pruning has done to its widths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import fx, nn

from exporters.rewrites._graph import called, constant, is_called, is_plain, uses

_ZERO, _ONE = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
_MOVES = ("view", "reshape", "unsqueeze")
_PASSED = (nn.Identity, nn.Dropout, nn.Dropout2d)


def merge_branches(network: fx.GraphModule) -> None:
    """Rewrite ``network``, in eval mode and float32, in place; its outputs change by float rounding only."""
    for node in reversed(list(network.graph.nodes)):
        if not node.users and node.op != "output":
            continue  # merged with a later one
        if not _joins(network, node):
            continue
        found = _linear(network, node, top=True)
        conv = None if found is None else found.as_convolution()
        if found is None or conv is None:
            continue
        name = f"merged_{node.name}"
        network.add_submodule(name, conv)
        with network.graph.inserting_before(node):
            merged = network.graph.call_module(name, (found.source,))
        node.replace_all_uses_with(merged)
        network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()


@dataclass(frozen=True)
class _Linear:
    """source -> convolution of it + ``own`` * source + ``bias``, in double precision.

    Attributes:
        kernel: [out, in / groups, height, width]; None if there is no convolution.
        layer: a convolution of the same strides, dilation and groups.
        own, bias: one value, or one per channel.
    """

    source: fx.Node
    kernel: torch.Tensor | None = None
    layer: nn.Conv2d | None = None
    own: torch.Tensor = _ZERO
    bias: torch.Tensor = _ZERO

    def scaled(self, scale: torch.Tensor, shift: torch.Tensor = _ZERO) -> _Linear:
        kernel = self.kernel
        if kernel is not None:
            kernel = kernel * (scale.reshape(-1, 1, 1, 1) if scale.ndim else scale)
        return replace(self, kernel=kernel, own=self.own * scale, bias=self.bias * scale + shift)

    def plus(self, other: _Linear) -> _Linear | None:
        """The sum, if both read the same map in the same way."""
        if self.source is not other.source:
            return None
        kernel, layer = self.kernel, self.layer
        if layer is None:
            kernel, layer = other.kernel, other.layer
        elif other.layer is not None:
            assert self.kernel is not None and other.kernel is not None
            same = ("stride", "dilation", "groups", "in_channels", "out_channels")
            if any(getattr(layer, name) != getattr(other.layer, name) for name in same):
                return None
            alike = layer.kernel_size == other.layer.kernel_size and layer.padding == other.layer.padding
            if not alike and not (_is_centred(layer) and _is_centred(other.layer)):
                return None
            if other.kernel[0, 0].numel() > self.kernel[0, 0].numel():
                layer = other.layer
            height, width = (max(a, b) for a, b in zip(self.kernel.shape[2:], other.kernel.shape[2:], strict=True))
            if layer.kernel_size != (height, width):
                return None  # neither kernel holds the other
            kernel = _grown(self.kernel, height, width) + _grown(other.kernel, height, width)
        return _Linear(self.source, kernel, layer, self.own + other.own, self.bias + other.bias)

    def as_convolution(self) -> nn.Conv2d | None:
        if self.kernel is None or self.layer is None:
            return None
        layer, kernel = self.layer, self.kernel.clone()
        if bool((self.own != 0).any()):
            if not _is_centred(layer) or layer.stride != (1, 1) or layer.in_channels != layer.out_channels:
                return None
            channel = torch.arange(layer.out_channels)
            middle = (kernel.shape[2] // 2, kernel.shape[3] // 2)
            kernel[channel, channel % kernel.shape[1], middle[0], middle[1]] += self.own
        conv = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
        )
        with torch.no_grad():
            conv.weight.copy_(kernel)
            assert conv.bias is not None
            conv.bias.copy_(self.bias)
        return conv.eval()


def _joins(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node can be the end of several branches, or of one convolution that is scaled."""
    return any(is_called(node, name) for name in ("add", "iadd", "sub", "mul")) or is_plain(
        called(network, node), nn.BatchNorm2d
    )


def _linear(network: fx.GraphModule, node: object, *, top: bool = False) -> _Linear | None:
    """The node as a linear function of an earlier one; of itself, if it is no other."""
    if not isinstance(node, fx.Node):
        return None
    if not top and len(node.users) != 1:
        return _Linear(node, own=_ONE)
    return _operation(network, node) or _Linear(node, own=_ONE)


def _operation(network: fx.GraphModule, node: fx.Node) -> _Linear | None:
    layer = called(network, node)
    if layer is not None:
        return _layer(network, node, layer)
    if node.kwargs or len(node.args) != 2:
        return None
    one, other = node.args
    if is_called(node, "add") or is_called(node, "iadd"):
        if one == 0 or other == 0:  # the sum of branches that are not there
            return _linear(network, other if one == 0 else one)
        return _sum(network, one, other, 1.0)
    if is_called(node, "sub"):
        return _sum(network, one, other, -1.0)
    if is_called(node, "mul"):
        for map_, values in ((one, other), (other, one)):
            scale = _per_channel(network, values)
            if scale is not None and (inner := _linear(network, map_)) is not None:
                return inner.scaled(scale)
    return None


def _layer(network: fx.GraphModule, node: fx.Node, layer: nn.Module) -> _Linear | None:
    if len(node.args) != 1 or node.kwargs:
        return None
    if any(is_plain(layer, kind) for kind in _PASSED):
        return _linear(network, node.args[0])
    if is_plain(layer, nn.BatchNorm2d):
        if layer.running_mean is None or layer.running_var is None:
            return None
        scale = (layer.running_var.double() + layer.eps).rsqrt() * (layer.weight.double() if layer.affine else 1.0)
        shift = (layer.bias.double() if layer.affine else 0.0) - layer.running_mean.double() * scale
        inner = _linear(network, node.args[0])
        return None if inner is None else inner.scaled(scale.detach(), shift.detach())
    source = node.args[0]
    if not is_plain(layer, nn.Conv2d) or uses(network, node.target) != 1 or not isinstance(source, fx.Node):
        return None
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    bias = torch.zeros(layer.out_channels, dtype=torch.float64) if layer.bias is None else layer.bias.detach().double()
    return _Linear(source, layer.weight.detach().double(), layer, bias=bias)


def _sum(network: fx.GraphModule, one: object, other: object, sign: float) -> _Linear | None:
    left, right = _linear(network, one), _linear(network, other)
    if left is None or right is None:
        return None
    return left.plus(right.scaled(sign * _ONE))


def _per_channel(network: fx.GraphModule, node: object) -> torch.Tensor | None:
    """The values of a constant with one value per channel, such as a layer scale: float64 [C]."""
    value = _constant(network, node)
    if value is None or value.ndim not in (3, 4) or value.numel() != value.shape[-3] or value.numel() == 1:
        return None
    return value.detach().double().flatten()


def _constant(network: fx.GraphModule, node: object) -> torch.Tensor | None:
    found = constant(network, node)
    if found is not None or not isinstance(node, fx.Node) or node.op != "call_method" or node.kwargs:
        return found
    inner, arguments = _constant(network, node.args[0]), node.args[1:]
    if inner is None or node.target not in _MOVES or not all(isinstance(each, int) for each in arguments):
        return None
    moved: torch.Tensor = getattr(inner, str(node.target))(*arguments)
    return moved


def _is_centred(conv: nn.Conv2d) -> bool:
    """Whether the kernel's middle is at the position that it computes."""
    assert not isinstance(conv.padding, str)
    return conv.dilation == (1, 1) and all(
        size % 2 == 1 and size == 2 * padding + 1 for size, padding in zip(conv.kernel_size, conv.padding, strict=True)
    )


def _grown(kernel: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The kernel with zeros around it."""
    more = (height - kernel.shape[2]) // 2, (width - kernel.shape[3]) // 2
    return nn.functional.pad(kernel, (more[1], more[1], more[0], more[0]))
