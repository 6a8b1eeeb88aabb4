"""Exact rewrites between a trained network and the converters: the same function in operations that runtimes run fast.

Each rewrite is in one file. It finds locations in a traced network where it proves that another variant computes the
same, except for float rounding; other parts of the network are not changed. The variant at each location is chosen by
estimated costs, by times measured on the runtime, or by a plan recorded earlier; the same plan always gives the same
file. In code, a location is a ``Place`` and a variant a ``Form``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from exporters.rewrites._choice import Form, Place, Rewrite

Choose = Callable[[fx.GraphModule, Sequence[Rewrite], Sequence[Place]], Sequence[Form]]
"""Gives one variant for each location that these rewrites found in the network, whose nodes carry shapes."""


def rewrite(
    network: fx.GraphModule, phases: Sequence[Sequence[Rewrite]], example: torch.Tensor, choose: Choose
) -> dict[str, Form]:
    """Rewrite ``network`` in place, phase by phase; the rewrites of one phase compete for the remaining bytes.

    Args:
        network: traced, in eval mode.
        example: one input of the deployed size; the rewritten network takes only this size, in any batch.
        choose: is called once in each phase.

    Returns:
        The variant chosen at each location, by the location's name.
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
