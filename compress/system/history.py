"""The lines of metrics.jsonl while a training runs: whoever trains records them, the run's pipeline keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Lines = Sequence[Mapping[str, Any]]

Watcher = Callable[[str, int, int, Callable[[], float]], None]
"""Called after each epoch with the stage's name, the epoch from 1, the number of epochs, and a function that measures
the mAP among the validation images. What it raises ends the training."""

_sink: ContextVar[Callable[[Lines], None] | None] = ContextVar("_sink", default=None)
_watcher: ContextVar[Watcher | None] = ContextVar("_watcher", default=None)


def record(lines: Lines) -> None:
    """Give all lines of the run so far; nothing happens outside a run."""
    sink = _sink.get()
    if sink is not None:
        sink(lines)


@contextmanager
def kept(sink: Callable[[Lines], None]) -> Iterator[None]:
    """Within the block, ``sink`` gets what is recorded."""
    token = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(token)


def epoch_ends(stage: str, epoch: int, epochs: int, mean_ap: Callable[[], float]) -> None:
    """Tell the watcher, if there is one, that an epoch has ended."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(stage, epoch, epochs, mean_ap)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Within the block, ``watcher`` is called after each epoch."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
