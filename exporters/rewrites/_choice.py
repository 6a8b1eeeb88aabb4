"""Places that can be written in several forms, and the choice among them under a limit in bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import fx

from compress.contracts import BadInput


@dataclass(frozen=True)
class Form:
    """One way to write a place.

    Attributes:
        name: what is recorded.
        cost: estimated time, in the unit of ``Costs``.
        added: bytes of weights that it adds to those now; below zero when it removes some.
        apply: changes the network; forms of different places can be applied in any order.
    """

    name: str
    cost: float
    added: int
    apply: Callable[[], object]


@dataclass(frozen=True)
class Place:
    """Where a network may be written differently.

    Attributes:
        name: unique in the network.
        forms: one of them adds no weights.
        nodes: what some form changes, and all between.
    """

    name: str
    forms: tuple[Form, ...]
    nodes: tuple[fx.Node, ...] = ()


class Rewrite(Protocol):
    def places(self, network: fx.GraphModule) -> list[Place]:
        """Where it applies. Nodes carry the shapes of a batch of one, as ``_graph.shape`` reads them."""
        ...


Price = Callable[[fx.GraphModule, Sequence[Rewrite], Sequence[Place]], list[Place]]
"""The same places with other costs."""


def unchanged() -> None:
    """What applying the form that a place already has does."""


def weight_bytes(network: fx.GraphModule) -> int:
    """Of all parameters and buffers, each counted once."""
    return sum(value.numel() * value.element_size() for value in network.state_dict(keep_vars=True).values())


class Cheapest:
    """Chooses by cost, under a limit in bytes for all phases together."""

    def __init__(self, growth: int | None = None, price: Price | None = None) -> None:
        """``growth``: bytes that the weights may grow by, None for any; ``price`` replaces the estimated costs."""
        self.left, self.price = growth, price

    def __call__(self, network: fx.GraphModule, rewrites: Sequence[Rewrite], places: Sequence[Place]) -> list[Form]:
        chosen = choose(places if self.price is None else self.price(network, rewrites, places), self.left)
        if self.left is not None:
            self.left -= sum(form.added for form in chosen)
        return chosen


class Recorded:
    """Chooses what a plan says: place -> form."""

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
            f"plan: made for another network or version: it has {self.plan.get(place.name)!r} for the place "
            f"'{place.name}' (forms: {forms}); remove it"
        )

    def check(self) -> None:
        """Raises BadInput for a plan that has places which the network lacks."""
        for name in self.plan:
            if name not in self.met:
                raise BadInput(f"plan: made for another network or version: there is no place '{name}'; remove it")


def choose(places: Sequence[Place], free: int | None) -> list[Form]:
    """The cheapest form of each place; where they add more than ``free`` bytes, those that gain least per byte go.

    Greedy: from the cheapest forms of all, the step that loses least time per byte saved is taken until the rest fits.
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
