"""Locations that can be written in several variants, and the choice among these under a limit in bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import fx, nn

from compress.contracts import BadInput


@dataclass(frozen=True)
class Form:
    """One variant of a location.

    Attributes:
        name: the name that plans record.
        cost: estimated time, in the unit of ``Costs``.
        added: bytes of weights that it adds; below zero if it removes some.
        apply: changes the network; variants of different locations can be applied in any order.
    """

    name: str
    cost: float
    added: int
    apply: Callable[[], object]


@dataclass(frozen=True)
class Place:
    """A location at which a network can be written differently.

    Attributes:
        name: unique in the network.
        forms: its variants; at least one adds no weights, unless a processor would compute it wrongly.
        nodes: the nodes that any variant changes, and all nodes between them.
    """

    name: str
    forms: tuple[Form, ...]
    nodes: tuple[fx.Node, ...] = ()


class Rewrite(Protocol):
    def places(self, network: fx.GraphModule) -> list[Place]:
        """Find the locations where it applies. Nodes carry the shapes of a batch of one, see ``_graph.shape``."""
        ...


Price = Callable[[fx.GraphModule, Sequence[Rewrite], Sequence[Place]], list[Place]]
"""Gives the same locations with other costs."""


def unchanged() -> None:
    """Do nothing: applies the variant that a location already has."""


def weight_bytes(network: nn.Module) -> int:
    """The bytes of all parameters and buffers, each counted once."""
    return sum(value.numel() * value.element_size() for value in network.state_dict(keep_vars=True).values())


class Cheapest:
    """Chooses the variants of lowest cost, under a limit in bytes for all phases together."""

    def __init__(self, growth: int | None = None, price: Price | None = None) -> None:
        """``growth``: bytes by which the weights may grow, None for no limit; ``price`` replaces estimated costs."""
        self.left, self.price = growth, price

    def __call__(self, network: fx.GraphModule, rewrites: Sequence[Rewrite], places: Sequence[Place]) -> list[Form]:
        chosen = choose(places if self.price is None else self.price(network, rewrites, places), self.left)
        if self.left is not None:
            self.left -= sum(form.added for form in chosen)
        return chosen


class Recorded:
    """Chooses the variants that a plan records: location -> variant."""

    def __init__(self, plan: Mapping[str, str]) -> None:
        self.plan, self.met = plan, set[str]()

    def __call__(self, network: fx.GraphModule, rewrites: Sequence[Rewrite], places: Sequence[Place]) -> list[Form]:
        self.met |= {place.name for place in places}
        return [self._form(place) for place in places]

    def _form(self, place: Place) -> Form:
        for form in place.forms:
            if form.name == self.plan.get(place.name):
                return form
        forms = ", ".join(form.name for form in place.forms)
        raise BadInput(
            f"plan: made for another network or version: it has {self.plan.get(place.name)!r} for the location "
            f"'{place.name}' (variants: {forms}); remove it"
        )

    def check(self) -> None:
        """Raises BadInput if the plan has locations that the network lacks."""
        for name in self.plan:
            if name not in self.met:
                raise BadInput(f"plan: made for another network or version: there is no location '{name}'; remove it")


def choose(places: Sequence[Place], free: int | None) -> list[Form]:
    """Choose the cheapest variants; if they add more than ``free`` bytes, undo those that gain least per byte.

    Greedy: starting from the cheapest variants, the change that loses least time per byte saved is made until they fit.
    """
    chosen = [min(place.forms, key=lambda form: (form.cost, form.added)) for place in places]
    while free is not None and sum(form.added for form in chosen) > free:
        steps = [
            ((form.cost - now.cost) / (now.added - form.added), number, form)
            for number, (place, now) in enumerate(zip(places, chosen, strict=True))
            for form in place.forms
            if form.added < now.added
        ]
        if not steps:
            break
        _, number, form = min(steps, key=lambda step: step[:2])
        chosen[number] = form
    return chosen
