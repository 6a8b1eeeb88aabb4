"""Sets of channel classes that can be removed together so that every grouped convolution keeps equal groups.

A *layer* is a set of channel classes that are counted together: the outputs of one convolution and all classes that
must be balanced with them. Its *bundles* are disjoint sets of its classes, least important first. The first n bundles
can be removed for any n; the result is a valid network.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from torch import nn

from architectures.layers.blocks import ChannelSplit
from compress.pruning.channels import NOBODY, Channels

_DEAR = 1e9
"""Replaces an infinite score where scores are added."""


@dataclass(frozen=True)
class Layer:
    """Channel classes that are pruned together.

    Attributes:
        producers: names of the modules that produce the channels, in the network's order.
        classes: the classes, ascending.
        partitions: for each way in which grouped convolutions divide the classes, the block of each class.
    """

    producers: tuple[str, ...]
    classes: tuple[int, ...]
    partitions: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        return self.producers[0]


@dataclass(frozen=True)
class Bundle:
    """Channel classes that are removed together.

    Attributes:
        classes: the classes.
        score: mean importance of a class, in units of its layer's mean.
    """

    layer: str
    classes: tuple[int, ...]
    score: float


def find_layers(network: nn.Module, channels: Channels) -> list[Layer]:
    """The layers from which channels can be removed, in the order the network computes them."""
    grouped = _grouped(network, channels)
    links = [ids.tolist() for name, ids in channels.produced.items()]
    links += [blocks for _, blocks, _ in grouped]
    members = _connected(links)
    layers = []
    for classes in members:
        inside = set(classes)
        producers = tuple(n for n, ids in channels.produced.items() if inside & set(ids.tolist()))
        partitions = tuple(dict.fromkeys(p for p in (_blocks(classes, ids, n) for _, ids, n in grouped) if p))
        if any(_repeats(ids) for _, ids, _ in grouped if inside & set(ids)):
            continue  # a channel of two groups cannot be taken from one alone
        free = [c for c in classes if c not in channels.fixed]
        if partitions and len(free) < len(classes):
            continue  # a group that must stay whole keeps all others as large
        if len(free) > 1:
            layers.append(Layer(producers, tuple(free), partitions))
    order = {name: place for place, name in enumerate(channels.produced)}
    return sorted(layers, key=lambda layer: order[layer.name])


def indispensable(
    network: nn.Module, channels: Channels, layers: Sequence[Layer], scores: Mapping[int, float]
) -> set[int]:
    """The most important class of every layer's inputs and outputs; if these are kept, no layer becomes empty."""
    relative: dict[int, float] = {}
    for layer in layers:
        scale = _scale([scores[c] for c in layer.classes])
        relative |= {c: scores[c] / scale for c in layer.classes}
    kept = set()
    for side in _sides(network, channels):
        if all(c in relative for c in side):  # otherwise one is kept anyway
            kept.add(max(side, key=lambda c: (relative[c], -c)))
    return kept


def make_bundles(layer: Layer, scores: Mapping[int, float], multiple_of: int, kept: Set[int]) -> list[Bundle]:
    """The layer's bundles, least important first.

    Args:
        scores: importance of each class, 0 or more.
        multiple_of: a layer with at least twice as many channels keeps a multiple of this many.
        kept: classes to keep, and with them the classes that could only be removed together with them.
    """
    values = np.array([scores[c] for c in layer.classes])
    sets = [chosen for chosen in _balanced(values, layer.partitions) if not kept & {layer.classes[i] for i in chosen}]
    if len(layer.classes) >= 2 * multiple_of:
        sets = _merged(sets, len(layer.classes), multiple_of)
    # A bundle can only be removed after those before it, so its score must not be lower than theirs.
    level, scale, bundles = 0.0, _scale(values), []
    for chosen in sets:
        level = max(level, float(values[chosen].mean()) / scale)
        bundles.append(Bundle(layer.name, tuple(layer.classes[i] for i in chosen), level))
    return bundles


def _scale(scores: Sequence[float] | np.ndarray) -> float:
    """The mean score, the unit in which layers are compared; 1 if all are zero or infinite."""
    finite = np.array(scores)[np.isfinite(scores)]
    return float(finite.mean()) or 1.0 if finite.size else 1.0


def _sides(network: nn.Module, channels: Channels) -> Iterator[list[int]]:
    """Yield the classes of each tensor that must keep at least one channel."""
    for ids in (*channels.produced.values(), *channels.read.values()):
        yield ids.tolist()
    for name, ids in channels.carried.items():
        split = network.get_submodule(name)
        if isinstance(split, ChannelSplit):
            yield ids[: split.first].tolist()
            yield ids[split.first :].tolist()


def _grouped(network: nn.Module, channels: Channels) -> list[tuple[str, list[int], int]]:
    """Each side (inputs, outputs) of each grouped convolution: name, classes by position, groups."""
    sides = []
    for name, ids in channels.produced.items():
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1 and name not in channels.depthwise:
            sides += [(name, channels.read[name].tolist(), layer.groups), (name, ids.tolist(), layer.groups)]
    return sides


def _connected(links: Sequence[Sequence[int]]) -> list[list[int]]:
    """Merge links that share a class, directly or through others, into sets; each set ascending."""
    home: dict[int, set[int]] = {}
    for link in links:
        joined = set(link) - {NOBODY}
        for known in {id(home[c]): home[c] for c in link if c in home}.values():
            joined |= known
        home |= dict.fromkeys(joined, joined)
    return [sorted(group) for group in {id(group): group for group in home.values()}.values()]


def _repeats(side: Sequence[int]) -> bool:
    return len(set(side)) < len(side)


def _blocks(classes: Sequence[int], side: Sequence[int], groups: int) -> tuple[int, ...] | None:
    """The group of each class on one side of a convolution; -1 for a class that is not on that side."""
    size = len(side) // groups
    block = {c: place // size for place, c in enumerate(side)}
    blocks = tuple(block.get(c, -1) for c in classes)
    return blocks if max(blocks) >= 0 else None


def _balanced(values: np.ndarray, partitions: Sequence[Sequence[int]]) -> list[list[int]]:
    """Sets of indices with equally many from each block of every partition, least important first."""
    everywhere = all(min(partition) >= 0 for partition in partitions)
    counts = {max(partition) + 1 for partition in partitions}
    if len(partitions) == 2 and everywhere and len(counts) == 1:
        return _matchings(values, partitions, counts.pop())
    cells: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index in np.argsort(values, kind="stable"):
        cells[tuple(partition[index] for partition in partitions)].append(int(index))
    # Taking the same share of every cell keeps every block in proportion, however the partitions cross.
    parts = math.gcd(*(len(cell) for cell in cells.values()))
    return [
        [i for cell in cells.values() for i in cell[k * len(cell) // parts : (k + 1) * len(cell) // parts]]
        for k in range(parts)
    ]


def _matchings(values: np.ndarray, partitions: Sequence[Sequence[int]], groups: int) -> list[list[int]]:
    """Sets with one channel from each block of both partitions, as a shuffle between two grouped convolutions needs.

    The blocks of the two partitions are the two sides of a bipartite graph, and the channels are its edges. The graph
    is regular, so it has a perfect matching, and is regular again without it (König 1916); each time the cheapest
    matching is taken. If all classes of a regular subgraph have score 0, they are taken first, all of them.
    """
    from scipy.optimize import linear_sum_assignment

    cells: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in np.argsort(-values, kind="stable"):
        cells[partitions[0][index], partitions[1][index]].append(int(index))
    sets = []
    for _ in range(len(values) // groups):
        cost = np.full((groups, groups), np.inf)
        for (one, other), left in cells.items():
            if left:
                cost[one, other] = min(values[left[-1]], _DEAR)
        ones, others = linear_sum_assignment(cost)
        sets.append([cells[pair].pop() for pair in zip(ones.tolist(), others.tolist(), strict=True)])
    return sets


def _merged(sets: list[list[int]], width: int, multiple_of: int) -> list[list[int]]:
    """Join neighbouring sets so that a multiple of ``multiple_of`` channels remains after each of them."""
    merged: list[list[int]] = []
    joined: list[int] = []
    for chosen in sets:
        joined = joined + chosen
        width -= len(chosen)
        if width % multiple_of == 0:
            merged.append(joined)
            joined = []
    return merged
