"""The lines of metrics.jsonl while a training runs: whoever trains records them, the run's pipeline keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Lines = Sequence[Mapping[str, Any]]

_sink: ContextVar[Callable[[Lines], None] | None] = ContextVar("_sink", default=None)


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
