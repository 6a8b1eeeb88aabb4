"""Several processes, on one machine or more, that train one network: ``torchrun`` starts them.

The first does everything that a single process does; the others wait and take part when it trains.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

_PATIENCE = timedelta(days=30)  # others wait while the first exports and validates


def count() -> int:
    """The number of processes that torchrun started, on all machines; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def count_here() -> int:
    """The number of these processes on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if count() > 1 else 1


def number() -> int:
    """The number of this process, from 0 on."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def broadcast(value: Any = None) -> Any:
    """Send a value, which must be picklable, from the first process to all others; every process returns it."""
    if count() == 1:
        return value
    from torch import distributed

    if not distributed.is_initialized():
        distributed.init_process_group(_backend(), timeout=_PATIENCE)
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def tasks() -> Iterator[Any]:
    """Yield the tasks that the first process broadcasts to the waiting ones, until it broadcasts None."""
    return iter(broadcast, None)


def leave() -> None:
    """Leave the group of processes; every process calls it last."""
    if count() == 1:
        return
    from torch import distributed

    if number() == 0:
        broadcast(None)
    distributed.destroy_process_group()


def _backend() -> str:
    import torch

    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
