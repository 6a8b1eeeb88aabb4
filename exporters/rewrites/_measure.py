"""Measure the time of a location's variants on the runtime itself, to replace the estimates."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from compress.contracts import Candidates, Timer
from exporters.rewrites._choice import Place, Rewrite
from exporters.rewrites._region import around

Write = Callable[[fx.GraphModule, tuple[int, int], Path], None]
"""Exports a network [N, 3, H, W] -> [N, D] of this (H, W) without rewriting it."""


class Measurements:
    """Replaces estimates by milliseconds, measured once per kind of location that has more than one variant."""

    def __init__(self, write: Write, timer: Timer, folder: Path, suffix: str) -> None:
        """``folder`` holds the files that are timed."""
        self.write, self.timer, self.folder, self.suffix = write, timer, folder, suffix
        self.known: dict[str, tuple[float, ...]] = {}

    def __call__(self, network: fx.GraphModule, rewrites: Sequence[Rewrite], places: Sequence[Place]) -> list[Place]:
        keys = [_kind(network, place) if len(place.forms) > 1 else None for place in places]
        new = {key: place for key, place in zip(keys, places, strict=True) if key is not None and key not in self.known}
        candidates = [self._candidates(network, rewrites, key, place) for key, place in new.items()]
        if candidates:
            times = self.timer(candidates)
            self.known.update((key, tuple(each)) for key, each in zip(new, times, strict=True))
        return [
            place if key is None else _priced(place, self.known[key]) for key, place in zip(keys, places, strict=True)
        ]

    def _candidates(self, network: fx.GraphModule, rewrites: Sequence[Rewrite], key: str, place: Place) -> Candidates:
        files = []
        for number, form in enumerate(place.forms):
            part, size = around(network, place.nodes)
            ShapeProp(part).propagate(torch.zeros(1, 3, *size, dtype=torch.uint8))  # type: ignore[no-untyped-call]
            (same,) = (each for rule in rewrites for each in rule.places(part) if each.name == place.name)
            next(each for each in same.forms if each.name == form.name).apply()
            part.graph.lint()
            part.delete_all_unused_submodules()
            part.recompile()
            files.append(self.folder / f"{key[:16]}-{number}{self.suffix}")
            self.write(part, size, files[-1])
        return Candidates(size, tuple(files))


def _priced(place: Place, times: tuple[float, ...]) -> Place:
    forms = (dataclasses.replace(form, cost=time) for form, time in zip(place.forms, times, strict=True))
    return dataclasses.replace(place, forms=tuple(forms))


def _kind(network: fx.GraphModule, place: Place) -> str:
    """A key that is equal for locations that differ only in their weights, because these take the same time."""
    part, size = around(network, place.nodes)
    layers = [str(part.get_submodule(str(n.target))) for n in part.graph.nodes if n.op == "call_module"]
    calls = [f"{n.op} {_function(n)} {len(n.users)}" for n in part.graph.nodes]
    forms = [f"{form.name} {form.added}" for form in place.forms]
    return hashlib.sha256("\n".join([str(size), *layers, *calls, *forms]).encode()).hexdigest()


def _function(node: fx.Node) -> str:
    """A node's function, without the layer's name (its location in the network) or a function's address."""
    return "" if node.op == "call_module" else str(getattr(node.target, "__name__", node.target))
