"""Follow every channel through a network.

torch.fx records the network's operations; they are then run on channel numbers instead of values.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from compress.contracts import BadInput
from compress.contracts.networks import RetrievalNetwork
from compress.pruning.channels import Channels, Classes, Tensor
from compress.pruning.propagation import OWN_RULE, Follower, constant
from compress.system.tracing import copied, trace


def trace_channels(network: nn.Module, example_input: torch.Tensor, *, fix_embedding: bool = True) -> Channels:
    """Find the channel classes of ``network``, which is not changed.

    A ``RetrievalNetwork`` is followed through ``embed`` and then through its ``classifier``, whose own layers are not
    pruned; any other module is followed through its forward.

    Args:
        example_input: float32 [N, 3, H, W]; only its shape matters.
        fix_embedding: keep every channel of the embedding.

    Raises:
        BadInput: torch.fx cannot trace the network, or the input does not fit it.
    """
    twin = copied(network).cpu().float().eval()
    classes = Classes()
    image = constant(example_input[:1])
    if not isinstance(twin, RetrievalNetwork):
        output = _follow(twin, "forward", "", classes, image)
        classes.fix(output)
        return classes.resolved(output)
    embedding = _follow(twin, "embed", "", classes, image)
    if fix_embedding:
        classes.fix(embedding)
    classes.reads(embedding)
    if twin.classifier is not None:
        known = set(classes.found.produced)
        logits = _follow(twin.classifier, "forward", "classifier.", classes, embedding)
        classes.fix(logits)
        for name in classes.found.produced.keys() - known:
            classes.fixed |= set(classes.found.produced[name].tolist())
    return classes.resolved(embedding)


def _follow(network: nn.Module, method: str, prefix: str, classes: Classes, image: Tensor) -> Tensor:
    name = type(network).__name__
    try:
        # A lone layer has no graph of its own: wrapped, it is called by the graph.
        root = network if type(network).__module__.partition(".")[0] != "torch" else nn.Sequential(network)
        root, graph = trace(root, method, is_layer=lambda module: isinstance(module, OWN_RULE))
    except Exception as error:  # fx passes on whatever the network's code raises when it meets a symbolic value
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"{name}: cannot be pruned because torch.fx cannot trace its {method} ({reason}); "
            "remove control flow that depends on tensor values"
        ) from error
    names = {id(module): (prefix + path).rstrip(".") for path, module in network.named_modules()}
    output = Follower(fx.GraphModule(root, graph), classes, names).run(image)
    if not isinstance(output, Tensor):
        raise BadInput(f"{name}: its {method} must give one tensor to be pruned, not {type(output).__name__}")
    return output
