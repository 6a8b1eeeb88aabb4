"""Fold batch normalisation into the convolution before it, exactly (Jacob et al., CVPR 2018, section 3.2).

In evaluation mode BN(conv(x)) is a convolution again, with weights scaled by gamma / sqrt(var + eps). Done in eager
and before tracing: converters that see a separate batch normalisation have been wrong about it (pytorch#76807).
"""

from __future__ import annotations

import copy

from torch import fx, nn

from compress.contracts import BadInput


def fold_batchnorm(network: nn.Module) -> fx.GraphModule:
    """A copy of ``network`` in eval mode without the batch normalisations that follow a convolution directly.

    A convolution whose output something else reads too, and a batch normalisation elsewhere, stay as they are.

    Raises:
        BadInput: ``network`` cannot be traced because its Python control flow depends on tensor values.
    """
    network = copy.deepcopy(network).cpu().eval()
    try:
        graph = fx.symbolic_trace(network)
    except Exception as error:  # noqa: BLE001 - fx raises whatever the traced code raises on a proxy
        message = " ".join(str(error).split())
        raise BadInput(f"{type(network).__name__}: cannot be exported, torch.fx could not trace it ({message})") from error
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
            continue
        source = node.args[0]
        conv = modules.get(str(source.target)) if source.op == "call_module" else None
        calls = [other for other in graph.graph.nodes if other.target == source.target]
        if not isinstance(conv, nn.Conv2d) or len(source.users) > 1 or len(calls) > 1:
            continue
        folded = _folded(conv, norm)
        parent, _, name = str(source.target).rpartition(".")
        setattr(graph.get_submodule(parent), name, folded)
        node.replace_all_uses_with(source)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_mean is not None and norm.running_var is not None
    # In double precision, so that the only rounding is the one to the stored float32.
    scale = (norm.running_var.double() + norm.eps).rsqrt() * (norm.weight.double() if norm.affine else 1.0)
    shift = (norm.bias.double() if norm.affine else 0.0) - norm.running_mean.double() * scale
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    folded = copy.deepcopy(conv)
    folded.weight = nn.Parameter((conv.weight.double() * scale.reshape(-1, 1, 1, 1)).float(), requires_grad=False)
    folded.bias = nn.Parameter(shift.float(), requires_grad=False)
    return folded


