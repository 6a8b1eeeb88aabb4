"""Write a chain of concatenations, permutations and splits of channels so that each channel is moved only once.

Each unit of ShuffleNet v2 (Ma et al., ECCV 2018, figure 3c) joins two halves, shuffles the channels and splits them
again. A channel therefore passes several units before a convolution reads it. Here a convolution's outputs are sorted
by what reads them, so that each reader takes one slice of each of them, and the readers' weights are put into the order
in which the slices arrive. No permutation is left, also none of those that pruning leaves: an index operation, which
neither XNNPACK nor phones' GPUs take.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from exporters._costs import Costs
from exporters.rewrites._channels import (
    change_convolution,
    is_foldable,
    keeps_channels,
    move_rate,
    permutation,
    takes_any_order,
    values,
)
from exporters.rewrites._choice import Form, Place, unchanged
from exporters.rewrites._convolutions import with_inputs, with_outputs
from exporters.rewrites._graph import argument, convolution, is_called, shape

Channel = tuple[fx.Node, int]
"""A channel of a node's output, by its number."""


@dataclass(frozen=True)
class _Move:
    """A node whose channels are those of other nodes."""

    node: fx.Node
    sources: tuple[fx.Node, ...]
    channels: tuple[Channel, ...]
    rate: int = 1


@dataclass(frozen=True)
class _Run:
    """Channels of one source, by their old numbers, that the same ends of the chain take."""

    channels: list[int]
    ends: tuple[int, ...]


@dataclass(frozen=True)
class _Reader:
    """What reads a node: a convolution, past operations that take any order of channels."""

    node: fx.Node
    reader: fx.Node
    passed: tuple[fx.Node, ...]
    conv: fx.Node


class MovePieces:
    """Applies between ungrouped convolutions, to chains with a concatenation and a permutation."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        if not self.costs.pieces:
            return []
        found = []
        for chain in _chains(_moves(network)):
            try:
                pieces = _Pieces(network, chain)
            except _Fixed:
                continue
            found.append(pieces.place(self.costs))
        return found


class _Fixed(Exception):
    """The order of some channels cannot be changed."""


class _Pieces:
    """One chain of moves."""

    def __init__(self, network: fx.GraphModule, chain: Sequence[_Move]) -> None:
        """Raises ``_Fixed``."""
        self.network = network
        moves = {move.node: move for move in chain}
        self.ends = [move for move in chain if any(user not in moves for user in _readers(move, moves))]
        sources = dict.fromkeys(source for move in chain for source in move.sources if source not in moves)
        self.first = {source: self._writer(source) for source in sources}
        self.readers = [reader for move in self.ends for reader in self._read(move, moves)]
        origin = {(source, number): (source, number) for source in sources for number in range(shape(source)[1])}
        for move in chain:
            origin |= {(move.node, number): origin[channel] for number, channel in enumerate(move.channels)}
        self.channels = {
            move.node: [origin[move.node, number] for number in range(len(move.channels))] for move in self.ends
        }
        if any(len(set(channels)) < len(channels) for channels in self.channels.values()):
            raise _Fixed
        taken: dict[Channel, tuple[int, ...]] = {}
        for number, channels in enumerate(self.channels.values()):
            for channel in channels:
                taken[channel] = (*taken.get(channel, ()), number)
        self.order = {
            source: sorted(range(shape(source)[1]), key=lambda number: taken.get((source, number), ()))
            for source in sources
        }
        self.runs = {source: self._runs(source, taken) for source in sources}
        self.chain = chain

    def place(self, costs: Costs) -> Place:
        before = sum(move.rate * costs.move(values(move.node)) for move in self.chain)
        after = 0.0
        for source, runs in self.runs.items():
            pixels = values(source) // shape(source)[1]
            after += costs.move(pixels * sum(len(run.channels) for run in runs)) if len(runs) > 1 else 0.0
        after += sum(costs.move(values(move.node)) for move in self.ends if len(self._parts(move)) > 1)
        nodes = list(self.network.graph.nodes)
        touched = sorted(nodes.index(node) for node in (*self.first.values(), *(each.conv for each in self.readers)))
        forms = (Form("pieces", after, 0, self._apply), Form("as it is", before, 0, unchanged))
        return Place(f"pieces:{self.ends[-1].node.name}", forms, tuple(nodes[touched[0] : touched[-1] + 1]))

    def _writer(self, node: fx.Node) -> fx.Node:
        """Find the convolution whose output reaches the chain unmixed and is read by nothing else."""
        while len(node.users) == 1:
            if self._is_free(node):
                return node
            if not keeps_channels(self.network, node):
                break
            node = node.all_input_nodes[0]
        raise _Fixed

    def _read(self, move: _Move, moves: dict[fx.Node, _Move]) -> Iterator[_Reader]:
        for reader in _readers(move, moves):
            if reader in moves:
                continue
            passed, node = [], reader
            while not self._is_free(node):
                if len(node.users) != 1 or not (
                    keeps_channels(self.network, node) or takes_any_order(self.network, node)
                ):
                    raise _Fixed
                passed.append(node)
                (node,) = node.users
            yield _Reader(move.node, reader, tuple(passed), node)

    def _is_free(self, node: fx.Node) -> bool:
        return is_foldable(self.network, node) and convolution(self.network, node).groups == 1

    def _runs(self, source: fx.Node, taken: dict[Channel, tuple[int, ...]]) -> list[_Run]:
        """The runs of ``source`` in their new order."""
        runs: list[_Run] = []
        for number in self.order[source]:
            ends = taken.get((source, number), ())
            if not runs or runs[-1].ends != ends:
                runs.append(_Run([], ends))
            runs[-1].channels.append(number)
        return runs

    def _parts(self, move: _Move) -> list[tuple[fx.Node, int]]:
        """The runs that make up an end of the chain: source and number of the run."""
        number = self.ends.index(move)
        return [
            (source, place)
            for source, runs in self.runs.items()
            for place, run in enumerate(runs)
            if number in run.ends
        ]

    def _apply(self) -> None:
        for source, conv in self.first.items():
            change_convolution(
                self.network, conv, functools.partial(with_outputs, order=torch.tensor(self.order[source]))
            )
        slices = {source: self._sliced(source) for source in self.runs}
        replaced = {}
        for move in self.ends:
            parts = self._parts(move)
            with self.network.graph.inserting_before(move.node):
                pieces = [slices[source][number] for source, number in parts]
                node = pieces[0]
                if len(pieces) > 1:
                    node = self.network.graph.call_function(torch.cat, (pieces, 1))
            number_of = {channel: number for number, channel in enumerate(self.channels[move.node])}
            came = [(source, channel) for source, number in parts for channel in self.runs[source][number].channels]
            replaced[move.node] = node, torch.tensor([number_of[channel] for channel in came])
        for reader in self.readers:
            node, order = replaced[reader.node]
            reader.reader.replace_input_with(reader.node, node)
            for passed in reader.passed:
                if takes_any_order(self.network, passed):
                    change_convolution(self.network, passed, functools.partial(with_outputs, order=order))
            change_convolution(self.network, reader.conv, functools.partial(with_inputs, order=order))
        self.network.graph.eliminate_dead_code()

    def _sliced(self, source: fx.Node) -> list[fx.Node]:
        """Slice the source's output into its runs, behind the source."""
        runs, start, found = self.runs[source], 0, []
        if len(runs) == 1:
            return [source]
        last = source
        for run in runs:
            where = (slice(None), slice(start, start + len(run.channels)))
            with self.network.graph.inserting_after(last):
                last = self.network.graph.call_function(operator.getitem, (source, where))
            found.append(last)
            start += len(run.channels)
        return found


def _readers(move: _Move, moves: dict[fx.Node, _Move]) -> list[fx.Node]:
    """What reads a move's output; the inner nodes of a permutation stand for the permutation."""
    inner = {node: other.node for other in moves.values() for node in _inside(other)}
    return list(dict.fromkeys(inner.get(user, user) for user in move.node.users))


def _inside(move: _Move) -> list[fx.Node]:
    """The nodes of a permutation before its last."""
    found, node = [], move.node
    while len(move.sources) == 1 and node.all_input_nodes[0] is not move.sources[0]:
        node = node.all_input_nodes[0]
        found.append(node)
    return found


def _moves(network: fx.GraphModule) -> list[_Move]:
    """All moves, in the order of the graph."""
    found = []
    for node in network.graph.nodes:
        if len(shape(node)) != 4:
            continue
        chain = permutation(network, node)
        if chain is not None:
            source, _, order = chain
            found.append(_Move(node, (source,), tuple((source, int(number)) for number in order), move_rate(order)))
        elif is_called(node, "cat") and argument(node, 1, "dim", 0) in (1, -3):
            sources = tuple(node.args[0])
            channels = [(source, number) for source in sources for number in range(shape(source)[1])]
            found.append(_Move(node, sources, tuple(channels)))
        elif (taken := _slice(node)) is not None:
            source = node.all_input_nodes[0]
            found.append(_Move(node, (source,), tuple((source, number) for number in taken)))
    return found


def _slice(node: fx.Node) -> range | None:
    """The channels that ``x[:, a:b]`` takes."""
    if not is_called(node, "getitem") or len(node.all_input_nodes) != 1 or not isinstance(node.args[1], tuple):
        return None
    (source,) = node.all_input_nodes
    index = [each for each in node.args[1] if isinstance(each, slice)]
    if len(shape(source)) != 4 or len(index) < len(node.args[1]) or len(index) < 2:
        return None
    if any(each != slice(None) for number, each in enumerate(index) if number != 1):
        return None
    return range(shape(source)[1])[index[1]]


def _chains(moves: Sequence[_Move]) -> list[list[_Move]]:
    """Moves that read each other, in the order of the graph, where they hold a concatenation and a permutation."""
    chains: list[list[_Move]] = []
    for move in moves:
        joined = [chain for chain in chains if any(other.node in move.sources for other in chain)]
        chains = [chain for chain in chains if chain not in joined]
        chains.append([*(other for chain in joined for other in chain), move])
    position = {move.node: number for number, move in enumerate(moves)}
    chains = [sorted(chain, key=lambda move: position[move.node]) for chain in chains]
    return [
        chain
        for chain in chains
        if any(len(move.sources) > 1 for move in chain) and any(_permutes(move) for move in chain)
    ]


def _permutes(move: _Move) -> bool:
    numbers = [number for _, number in move.channels]
    return len(move.sources) == 1 and numbers != list(range(numbers[0], numbers[0] + len(numbers)))
