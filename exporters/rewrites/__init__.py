"""Exact rewrites between a trained network and the converters: the same function, written as runtimes run it fast.

One rewrite lives in one file. It finds places in a traced network where it proves that another form computes the same
but for float rounding; what it does not recognise stays as it was. Which form each place gets follows from estimated
costs and a limit in bytes alone, so that the same network always gives the same file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from exporters.rewrites._choice import Place, Rewrite, choose, unchanged, weight_bytes


def rewrite(
    network: fx.GraphModule, phases: Sequence[Sequence[Rewrite]], example: torch.Tensor, *, growth: float | None = None
) -> dict[str, str]:
    """Rewrite ``network`` in place, phase by phase; the rewrites of one phase compete for the bytes that are left.

    Args:
        network: traced, in eval mode.
        example: one input of the size that is deployed; the rewritten network takes this size alone, in any batch.
        growth: bytes that the weights may grow by, as a share of their bytes now; None sets no limit.

    Returns:
        The form that each changed place was given, by the name of the layer or operation it had there.
    """
    limit = None if growth is None else int(weight_bytes(network) * (1 + growth))
    chosen: dict[str, str] = {}
    for rewrites in phases:
        ShapeProp(network).propagate(example)  # type: ignore[no-untyped-call]
        places: list[Place] = [place for each in rewrites for place in each.places(network)]
        free = None if limit is None else limit - weight_bytes(network)
        for place, form in zip(places, choose(places, free), strict=True):
            form.apply()
            if form.apply is not unchanged:
                chosen[place.name] = form.name
        network.graph.lint()
        network.delete_all_unused_submodules()
        network.recompile()
    return chosen
