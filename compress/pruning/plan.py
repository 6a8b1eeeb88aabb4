"""Which channel classes to remove for a given share, or for a given size of the network."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import nn

from compress.contracts import BadInput, CompressError
from compress.plugins import did_you_mean
from compress.pruning.bundles import Bundle, Layer, find_layers, indispensable, make_bundles
from compress.pruning.channels import Channels
from compress.pruning.comparison import computes_the_same
from compress.pruning.importance import check_criterion, class_scores
from compress.pruning.surgery import remove_channels
from compress.pruning.tracing import trace_channels
from compress.system.progress import say

Scope = Literal["global", "layer"]
N = TypeVar("N", bound=nn.Module)

_ROUNDING = 1e-9
"""Tolerance for rounding, so that 0.3 of 10 channels is 3."""


@dataclass(frozen=True)
class Prunable(Generic[N]):
    """One network, ready to be pruned.

    Attributes:
        bundles: layer name -> its bundles, least important first; classes in no bundle are never removed.
    """

    network: N
    channels: Channels
    layers: Mapping[str, Layer]
    bundles: Mapping[str, Sequence[Bundle]]

    @property
    def widths(self) -> dict[str, int]:
        """The number of prunable channels in the layer of each module that produces some: module -> number."""
        return {name: len(layer.classes) for layer in self.layers.values() for name in layer.producers}

    def width(self, except_for: Collection[str] = ()) -> int:
        """The number of prunable channels, without the layers that have a producer with one of these names."""
        return sum(len(la.classes) for la in self.layers.values() if not set(la.producers) & set(except_for))

    def without(self, bundles: Sequence[Bundle]) -> N:
        """A smaller copy of the network, without these bundles."""
        return remove_channels(self.network, self.channels, {c for b in bundles for c in b.classes})

    def checked_without(self, bundles: Sequence[Bundle], example_input: torch.Tensor) -> N:
        """As ``without``; both networks are run, and the smaller one computes what it should.

        Raises:
            CompressError: it computes something else.
        """
        small, removed = self.without(bundles), {c for b in bundles for c in b.classes}
        if removed and not computes_the_same(small, self.network, self.channels, removed, example_input):
            raise CompressError("prune: the smaller network computes something else than it should; report the network")
        return small

    def require_some(self, what: str) -> None:
        """Raises BadInput if no channel can be removed; ``what`` is the option that asks for it, with its value."""
        if not self.layers:
            raise BadInput(
                f"{what}: no channel of this network can be removed, as all are added to parameters, normalised "
                "together or read by operations without a rule; remove the stage prune"
            )


def prunable(
    network: N,
    example_input: torch.Tensor,
    *,
    importance: str = "l2",
    multiple_of: int = 1,
    fix_embedding: bool = True,
) -> Prunable[N]:
    """Find and rank what can be removed.

    Args:
        example_input: float32 [N, 3, H, W]; only its shape matters.
        importance: see ``importance.class_scores``.
        multiple_of: each layer keeps a multiple of this many channels, if it has at least twice as many.
        fix_embedding: do not change the embedding's dimension.

    Raises:
        BadInput: an unknown criterion, no gradients for ``taylor``, or a network that cannot be traced.
    """
    check_criterion(importance)
    channels = trace_channels(network, example_input, fix_embedding=fix_embedding)
    layers = {layer.name: layer for layer in find_layers(network, channels)}
    scores = class_scores(network, channels, importance)
    kept = indispensable(network, channels, list(layers.values()), scores)
    bundles = {name: make_bundles(layer, scores, multiple_of, kept) for name, layer in layers.items()}
    return _reliable(Prunable(network, channels, layers, bundles), example_input)


def _reliable(found: Prunable[N], example_input: torch.Tensor) -> Prunable[N]:
    """The same without the layers whose channels cannot be removed: the smaller network would compute something else.

    The rules of ``propagation`` cannot know what a network's own code does with the numbers of its channels.
    """

    def holds(names: Iterable[str]) -> bool:
        removed = {c for name in names for b in found.bundles[name] if math.isfinite(b.score) for c in b.classes}
        if not removed:
            return True
        small = remove_channels(found.network, found.channels, removed)
        return computes_the_same(small, found.network, found.channels, removed, example_input)

    if holds(found.layers):
        return found
    good = [name for name in found.layers if holds([name])]
    if not holds(good):
        good = []
    say(
        f"prune: {len(found.layers) - len(good)} of {len(found.layers)} layers keep all channels, because the network "
        "without some of them computes something else"
    )
    layers = {name: found.layers[name] for name in good}
    return Prunable(found.network, found.channels, layers, {name: found.bundles[name] for name in good})


def choose_share(
    found: Prunable,
    ratio: float,
    scope: Scope = "global",
    per_layer: Mapping[str, float] | None = None,
    start: Prunable | None = None,
) -> list[Bundle]:
    """Choose the bundles to remove: at most ``ratio`` of the prunable channels.

    Args:
        ratio: 0 up to, but not including, 1. Channels that can only be removed together count once.
        scope: ``global`` takes the least important of the whole network, ``layer`` the same share of each layer.
        per_layer: shares of single layers, by the name of any module that produces their channels.
        start: ``found`` before earlier steps; all shares are of its channels, and channels removed since are counted.

    Raises:
        BadInput: a share that would leave a layer or one of its groups empty, or a layer that does not exist.
    """
    start = start or found
    own = per_layer or {}
    chosen, others = _overridden(found, own, start)
    total = start.width(own)
    order = _ordered(found, others, scope, start)
    most = sum(len(b.classes) for b in order)
    if not 0 <= ratio < 1 or (start is found and ratio * total > most):
        raise BadInput(
            f"ratio: {ratio} would leave a layer or one of its groups without channels; at most "
            f"{most / max(total, 1):.3f} of the {total} prunable channels can be removed"
        )
    if scope == "layer":
        return chosen + [
            bundle
            for share, bundle in zip(_shares(order, found, start), order, strict=True)
            if share <= ratio + _ROUNDING
        ]
    return chosen + _up_to(order, ratio * total - (total - found.width(own)))


def largest_share(found: Prunable, per_layer: Mapping[str, float] | None = None) -> float:
    """The largest ``ratio`` that ``choose_share`` accepts."""
    own = per_layer or {}
    _, others = _overridden(found, own, found)
    return sum(len(b.classes) for b in _ordered(found, others, "global", found)) / max(found.width(own), 1)


def choose_size(
    found: Prunable[N],
    limit: float,
    measure: Callable[[N], int],
    what: str,
    scope: Scope = "global",
    per_layer: Mapping[str, float] | None = None,
    start: Prunable | None = None,
) -> list[Bundle]:
    """Choose the fewest bundles, in the order of ``choose_share``, whose removal brings the network to ``limit``.

    Args:
        limit: the largest size, in the units of ``measure``.
        measure: network -> size; never larger for fewer channels.
        what: the start of the error message: the option and its value.
        start: see ``choose_share``.

    Raises:
        BadInput: as ``choose_share``, or a limit that cannot be reached; the message gives the smallest reachable size.
    """
    chosen, others = _overridden(found, per_layer or {}, start or found)
    order = _ordered(found, others, scope, start or found)
    now = measure(found.network)
    least = measure(found.without(chosen + order))
    if least > limit:
        raise BadInput(
            f"{what} asks for at most {limit:,.0f} of {now:,}, but {least:,} ({least / now:.3f}) is the "
            "least this network can be pruned to; ask for that or more"
        )

    def fits(count: int) -> bool:
        return measure(found.without(chosen + order[:count])) <= limit

    return chosen + order[: bisect.bisect_left(range(len(order)), True, key=fits)]


def choose_layer(found: Prunable, name: str, share: float, start: Prunable | None = None) -> list[Bundle]:
    """Choose the bundles to remove from one layer: at most ``share`` of its channels in ``start``."""
    width = (start or found).widths[name]
    return _up_to(found.bundles[name], share * width - (width - found.widths[name]))


def _overridden(found: Prunable, per_layer: Mapping[str, float], start: Prunable) -> tuple[list[Bundle], list[str]]:
    """Choose the bundles of the layers that ``per_layer`` names; also returns the names of the other layers."""
    homes = {producer: layer.name for layer in found.layers.values() for producer in layer.producers}
    taken: dict[str, list[Bundle]] = {}
    for name, share in per_layer.items():
        if name not in homes and name in start.widths:
            continue  # earlier steps removed all that could be removed
        if name not in homes:
            near = did_you_mean(name, list(homes))
            raise BadInput(f"per_layer: '{name}' is not a layer with channels to remove{near} ({_some(homes)})")
        layer = found.layers[homes[name]]
        if layer.name in taken:
            raise BadInput(f"per_layer: '{name}' is removed together with another layer named here; name one")
        width, bundles = len(layer.classes), found.bundles[layer.name]
        most = sum(len(b.classes) for b in bundles)
        if not 0 <= share < 1 or (start is found and share * width > most):
            raise BadInput(
                f"per_layer: {share} of the {width} channels of '{name}' would leave it or one of its groups empty; "
                f"at most {most / width:.3f} can be removed"
            )
        taken[layer.name] = choose_layer(found, layer.name, share, start)
    return [b for bundles in taken.values() for b in bundles], [n for n in found.layers if n not in taken]


def _some(names: Iterable[str]) -> str:
    first = list(names)
    return ", ".join(first[:8]) + (f" and {len(first) - 8} more" if len(first) > 8 else "")


def _ordered(found: Prunable, layers: Sequence[str], scope: Scope, start: Prunable) -> list[Bundle]:
    """All bundles in the order of removal; the sort is stable, so a layer's own bundles keep their order."""
    bundles = [b for name in layers for b in found.bundles[name] if math.isfinite(b.score)]
    if scope == "global":
        return sorted(bundles, key=lambda b: b.score)
    ranked = sorted(zip(_shares(bundles, found, start), range(len(bundles)), strict=True))
    return [bundles[number] for _, number in ranked]


def _shares(bundles: Sequence[Bundle], found: Prunable, start: Prunable) -> list[float]:
    """The share of its layer, as it was in ``start``, that is removed after each bundle."""
    now = found.widths
    begin = {**now, **start.widths}
    gone = {name: begin[name] - now[name] for name in found.layers}
    shares = []
    for bundle in bundles:
        gone[bundle.layer] += len(bundle.classes)
        shares.append(gone[bundle.layer] / begin[bundle.layer])
    return shares


def _up_to(bundles: Sequence[Bundle], channels: float) -> list[Bundle]:
    """The first bundles with at most this many channels together."""
    ends = list(itertools.accumulate(len(b.classes) for b in bundles))
    return list(bundles[: bisect.bisect_right(ends, channels + _ROUNDING)])
