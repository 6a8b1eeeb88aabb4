"""EfficientNet-Lite0's ImageNet weights for a smaller network of the same kind of blocks.

A chain of a stem, inverted bottlenecks and a last convolution starts from Lite0's stem, the first block of each of its
stages, which changes the number of channels, and its head. Blocks that only add to their input are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from architectures.efficientnet_lite import EfficientNetLite
from compress.contracts import BadInput

_FIRST = (1, 2, 4, 6, 9, 12, 16)
"""Of Lite0's trunk, the first block of each stage; 0 is the stem, the last the head."""

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


@torch.no_grad()
def start_from_lite0(stem: nn.Module, blocks: Sequence[nn.Module], head: nn.Module) -> None:
    """Copy Lite0's weights into layers that have at most as many channels.

    Of a layer with more channels, those whose batch normalisation has the largest scales are kept. Kernels of 5x5 are
    cut to their centre. Lite0's first block does not expand its input: the first 1x1 convolution becomes the identity.

    Args:
        stem, head: contain one convolution and its batch normalisation.
        blocks: contain 1x1, depthwise and 1x1 convolutions in this order, each with batch normalisation.

    Raises:
        BadInput: the layers have other numbers of channels.
    """
    if len(blocks) != len(_FIRST):
        raise BadInput(f"pretrained: Lite0 has {len(_FIRST)} stages; give as many widths, not {len(blocks)}")
    source = list(EfficientNetLite(pretrained=True).build().get_submodule("trunk").children())
    kept = _copy(_pairs(source[0])[0], _pairs(stem)[0], torch.arange(3), "stem_width")
    for number, (block, first) in enumerate(zip(blocks, _FIRST, strict=True)):
        given, (expand, depthwise, project) = _pairs(source[first]), _pairs(block)
        if len(given) == 2:
            hidden = _become_identity(expand, kept)
        else:
            hidden = _copy(given[0], expand, kept, f"expansions[{number}]")
        _copy(given[-2], depthwise, hidden, f"expansions[{number}]")
        kept = _copy(given[-1], project, hidden, f"widths[{number}]")
    _copy(_pairs(source[-1])[0], _pairs(head)[0], kept, "head_width")


def _pairs(part: nn.Module) -> list[Pair]:
    """The convolutions with batch normalisation, in order; those of attention have none."""
    found: list[Pair] = []
    last = None
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            last = module
        elif isinstance(module, nn.BatchNorm2d) and last is not None:
            found.append((last, module))
    return found


def _copy(source: Pair, own: Pair, inputs: torch.Tensor, key: str) -> torch.Tensor:
    """Fill ``own`` from ``source``.

    Args:
        inputs: int64, which of the source's input channels enter; a depthwise convolution keeps exactly these.
        key: the option that decides the number of channels, for the message.

    Returns:
        which of the source's output channels were kept, in order.
    """
    (from_conv, from_norm), (conv, norm) = source, own
    depthwise = from_conv.groups > 1
    if conv.out_channels > from_conv.out_channels:
        raise BadInput(
            f"pretrained: {key} makes {conv.out_channels} channels, Lite0 has {from_conv.out_channels} there; lower it"
        )
    kept = inputs if depthwise else from_norm.weight.abs().topk(conv.out_channels).indices.sort().values
    weight = from_conv.weight[kept] if depthwise else from_conv.weight[kept][:, inputs]
    cut = (from_conv.kernel_size[0] - conv.kernel_size[0]) // 2
    size = conv.kernel_size[0]
    conv.weight.copy_(weight[:, :, cut : cut + size, cut : cut + size])
    norm.weight.copy_(from_norm.weight[kept])
    norm.bias.copy_(from_norm.bias[kept])
    assert norm.running_mean is not None and norm.running_var is not None
    assert from_norm.running_mean is not None and from_norm.running_var is not None
    norm.running_mean.copy_(from_norm.running_mean[kept])
    norm.running_var.copy_(from_norm.running_var[kept] + (from_norm.eps - norm.eps))  # the same sum with epsilon
    return kept


def _become_identity(own: Pair, inputs: torch.Tensor) -> torch.Tensor:
    """Let the layer pass its inputs, which are between 0 and 6, as they are."""
    conv, norm = own
    if conv.out_channels != conv.in_channels:
        raise BadInput("pretrained: Lite0's first block does not expand its input; set expansions[0] to 1")
    conv.weight.copy_(torch.eye(conv.in_channels)[:, :, None, None])
    assert norm.running_var is not None
    norm.running_var.fill_(1 - norm.eps)
    return inputs
