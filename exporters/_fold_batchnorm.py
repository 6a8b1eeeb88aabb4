"""Fold batch normalisation exactly into the convolution before it (Jacob et al., CVPR 2018, section 3.2).

In evaluation mode BN(conv(x)) is a convolution, with weights scaled by gamma / sqrt(var + eps). It is folded in eager
mode before tracing, because converters have converted separate batch normalisations wrongly (pytorch#76807).
"""

from __future__ import annotations

import copy

import torch
from torch import fx, nn

from compress.contracts import BadInput
from compress.system.tracing import copied, trace
from exporters.rewrites._graph import called, is_plain, uses


def fold_batchnorm(network: nn.Module, method: str = "forward") -> fx.GraphModule:
    """Copy ``network`` to the CPU in float32 and eval mode, with ``method`` as forward and batch normalisation folded.

    A BatchNorm2d is folded if it reads a Conv2d, of any grouping, whose output nothing else reads, in all of its calls.
    Other batch normalisations are not changed, nor are modules with hooks or of a derived class, which may compute
    something else.
    Submodules that ``method`` does not use are dropped.

    Raises:
        BadInput: ``network`` cannot be traced, for instance because its control flow depends on tensor values.
    """
    traced = _traced(copied(network).cpu().float().eval(), method)
    for node in list(traced.graph.nodes):
        norm = called(traced, node)
        if not is_plain(norm, nn.BatchNorm2d) or norm.running_mean is None:
            continue
        if not node.all_input_nodes:  # erased together with another call
            continue
        source = node.all_input_nodes[0]
        conv = called(traced, source)
        if not is_plain(conv, nn.Conv2d):
            continue
        sources = [each for each in traced.graph.nodes if each.op == "call_module" and each.target == source.target]
        readers = [reader for each in sources for reader in each.users]
        # Several calls, e.g. for the scales of an image pyramid, are folded together; only this node reads each.
        if len(sources) != uses(traced, source.target) or any(
            len(each.users) != 1 or next(iter(each.users)).target != node.target for each in sources
        ):
            continue
        parent, _, name = str(source.target).rpartition(".")
        setattr(traced.get_submodule(parent), name, _folded(conv, norm))
        for reader, each in zip(readers, sources, strict=True):
            reader.replace_all_uses_with(each)
            traced.graph.erase_node(reader)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _traced(network: nn.Module, method: str) -> fx.GraphModule:
    try:
        root, graph = trace(network, method)
    except Exception as error:  # fx passes on any error that the network's code raises for a symbolic value
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"{type(network).__name__}: cannot be exported because torch.fx cannot trace its {method} ({reason}); "
            "remove control flow that depends on tensor values"
        ) from error
    return fx.GraphModule(root, graph, type(network).__name__)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_mean is not None and norm.running_var is not None
    # In double precision, so that only the final conversion to float32 rounds.
    scale = (norm.running_var.double() + norm.eps).rsqrt() * (norm.weight.double() if norm.affine else 1.0)
    shift = (norm.bias.double() if norm.affine else 0.0) - norm.running_mean.double() * scale
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    folded = copy.deepcopy(conv)
    with torch.no_grad():
        folded.weight = nn.Parameter((conv.weight.double() * scale.reshape(-1, 1, 1, 1)).float())
        folded.bias = nn.Parameter(shift.float())
    return folded
