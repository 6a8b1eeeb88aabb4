"""Places that can be written in several forms, and the choice among them under a limit in bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import fx


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
    """Where a network may be written differently. One of the ``forms`` adds no weights."""

    name: str
    forms: tuple[Form, ...]


class Rewrite(Protocol):
    def places(self, network: fx.GraphModule) -> list[Place]:
        """Where it applies. Nodes carry the shapes of a batch of one, as ``_graph.shape`` reads them."""
        ...


def unchanged() -> None:
    """What applying the form that a place already has does."""


def weight_bytes(network: fx.GraphModule) -> int:
    """Of all parameters and buffers, each counted once."""
    return sum(value.numel() * value.element_size() for value in network.state_dict(keep_vars=True).values())


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
