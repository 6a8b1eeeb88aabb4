"""Channel classes: which channels of different layers must be kept or removed together.

Channels are numbered in the order in which layers produce them. If two tensors are added or multiplied, their channels
become one *channel class*, which is kept or removed as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

NOBODY = -1
"""The channel number of constants."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the network as the tracer sees it.

    Attributes:
        ids: int64, of the tensor's shape: the channel each element belongs to.
        live: bool, of the same shape: False where the element is zero for every image.
    """

    ids: torch.Tensor
    live: torch.Tensor

    def map(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Tensor:
        return Tensor(move(self.ids), move(self.live))


@dataclass
class Channels:
    """The channel classes of one network.

    Attributes:
        produced: layer with weights -> class of each output channel, int64 [out].
        read: layer with weights -> class of each input channel, int64 [in].
        carried: batch normalisation, shuffle, split, spatial attention -> class of each input channel.
        depthwise: the convolutions with one group, input and output for each channel.
        fixed: classes that are never removed.
        live: classes that are not zero for every image.
        embedding: class of each value of the embedding; of the output for other modules than a ``RetrievalNetwork``.
    """

    produced: dict[str, torch.Tensor] = field(default_factory=dict)
    read: dict[str, torch.Tensor] = field(default_factory=dict)
    carried: dict[str, torch.Tensor] = field(default_factory=dict)
    depthwise: set[str] = field(default_factory=set)
    fixed: set[int] = field(default_factory=set)
    live: set[int] = field(default_factory=set)
    embedding: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))


class Classes:
    """The channel numbers assigned so far, and which of them belong to the same class."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.fixed: set[int] = set()
        self.live: set[int] = set()
        self.found = Channels()

    def new(self, count: int) -> torch.Tensor:
        first = len(self.parents)
        self.parents += range(first, first + count)
        return torch.arange(first, first + count)

    def find(self, number: int) -> int:
        while self.parents[number] != number:
            self.parents[number] = number = self.parents[self.parents[number]]
        return number

    def join(self, one: torch.Tensor, other: torch.Tensor) -> None:
        """Put the channels of elements at the same position into one class; constants do not change a class."""
        both = (one != NOBODY) & (other != NOBODY)
        count = len(self.parents)
        for pair in (one * count + other)[both].unique().tolist():
            self.parents[self.find(pair % count)] = self.find(pair // count)

    def fix(self, tensor: Tensor) -> None:
        self.fixed |= set(tensor.ids.unique().tolist())

    def reads(self, tensor: Tensor) -> None:
        """Record that an operation that mixes channels reads these values."""
        self.live |= set(tensor.ids[tensor.live].unique().tolist())

    def resolved(self, embedding: Tensor) -> Channels:
        roots = torch.tensor([self.find(number) for number in range(len(self.parents))] + [NOBODY])
        found = self.found
        for table in (found.produced, found.read, found.carried):
            for name, ids in table.items():
                table[name] = roots[ids]
        found.fixed = set(roots[sorted(self.fixed)].tolist())
        found.live = set(roots[sorted(self.live)].tolist())
        found.embedding = roots[first_position(embedding.ids)]
        return found


def first_position(ids: torch.Tensor) -> torch.Tensor:
    return ids.flatten(2)[0, :, 0] if ids.dim() > 2 else ids[0]
