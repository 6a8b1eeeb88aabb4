"""Exact rewrites between a trained network and the converters: the same function, written as runtimes run it fast.

One rewrite lives in one file. It finds places in a traced network where it proves that another form computes the same
but for float rounding; what it does not recognise stays as it was. Which form each place gets follows from estimated
costs, from times measured on the runtime, or from a plan recorded earlier; the same plan always gives the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from exporters.rewrites._choice import Form, Place, Rewrite

Choose = Callable[[fx.GraphModule, Sequence[Rewrite], Sequence[Place]], Sequence[Form]]
"""Gives one form for each place that these rewrites found in the network, which carries shapes."""


def rewrite(
    network: fx.GraphModule, phases: Sequence[Sequence[Rewrite]], example: torch.Tensor, choose: Choose
) -> dict[str, Form]:
    """Rewrite ``network`` in place, phase by phase; the rewrites of one phase compete for the bytes that are left.

    Args:
        network: traced, in eval mode.
        example: one input of the size that is deployed; the rewritten network takes this size alone, in any batch.
        choose: is asked once in each phase.

    Returns:
        The form that each place was given, by the place's name.
    """
    chosen: dict[str, Form] = {}
    for rewrites in phases:
        ShapeProp(network).propagate(example)  # type: ignore[no-untyped-call]
        places = [place for each in rewrites for place in each.places(network)]
        for place, form in zip(places, choose(network, rewrites, places), strict=True):
            form.apply()
            chosen[place.name] = form
        network.graph.lint()
        network.delete_all_unused_submodules()
        network.recompile()
    return chosen
