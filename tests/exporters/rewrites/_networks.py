"""Networks as rewrites get them, and how far apart two of them are."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import fx, nn

from exporters._costs import Costs
from exporters.rewrites import rewrite
from exporters.rewrites._choice import Cheapest, Form, Place, Rewrite

CHEAP_DENSE = Costs(lanes=16, spatial_lanes=16, pixel=1000, moved=1000, channels_last=True)
CHEAP_MOVES = Costs(lanes=1, spatial_lanes=1, pixel=0, moved=0, channels_last=False)

TOLERANCE = 1e-5


def traced(network: nn.Module) -> fx.GraphModule:
    return fx.GraphModule(network.eval(), fx.Tracer().trace(network))


@torch.no_grad()
def difference(network: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    """The largest, relative to the largest output. Both compute in float64: only what is stored differs."""
    want, got = (copy.deepcopy(each).double()(x if x.dtype == torch.uint8 else x.double()) for each in (network, other))
    assert want.std() > 0.01 * want.abs().max()  # anything agrees with a constant
    return float((got - want).abs().max() / want.abs().max())


class Only:
    """A rewrite that must use the form of this name at every place that has it, and counts these."""

    def __init__(self, rewrite: Rewrite, form: str) -> None:
        self.rewrite, self.form, self.count = rewrite, form, 0

    def places(self, network: fx.GraphModule) -> list[Place]:
        found = []
        for place in self.rewrite.places(network):
            forms: tuple[Form, ...] = tuple(form for form in place.forms if form.name == self.form)
            if forms:
                found.append(Place(place.name, forms))
        self.count = len(found)
        return found


def rewritten(network: nn.Module, example: torch.Tensor, rewrites: Sequence[Rewrite]) -> fx.GraphModule:
    changed = copy.deepcopy(traced(network))
    rewrite(changed, [rewrites], example, Cheapest())
    return changed.eval()
