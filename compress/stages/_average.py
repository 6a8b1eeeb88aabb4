"""Exponential moving average of a network's weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Average:
    """The average of all weights and statistics of a network over the optimizer steps.

    The newest weights count ``1 - keep``; ``keep`` rises to ``decay`` as (1 + n) / (10 + n) over the first n steps, so
    that the initial weights are forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the weights after an optimizer step."""
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in network.state_dict().items():
            own = self.values[name]
            if own.is_floating_point():
                own.lerp_(tensor, 1 - keep)
            else:
                own.copy_(tensor)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """Within the block, the network has the averaged weights."""
        trained = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self.values)
        try:
            yield
        finally:
            network.load_state_dict(trained)

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates, "values": self.values}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Read what ``state`` gave."""
        self.updates = state["updates"]
        for name, tensor in state["values"].items():
            self.values[name].copy_(tensor)
