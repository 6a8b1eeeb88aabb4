"""Progress of long work: a live bar on a terminal, plain lines in a log. Everything goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from compress.system import processes
from compress.system.output import printable


class Ticker(Protocol):
    """Shows how far a piece of work is."""

    def advance(self, amount: int, note: str = "") -> None:
        """``amount`` more units are done; ``note`` replaces the text after the bar."""


def say(line: str) -> None:
    """Print one line for the log, above a live bar if there is one; only the first of several processes prints."""
    if processes.number():
        return
    if _live:
        _live[-1].console.print(printable(line), highlight=False, markup=False, emoji=False)
    else:
        print(printable(line), file=sys.stderr, flush=True)


_live: list = []


class _Silent:
    def advance(self, amount: int, note: str = "") -> None:
        """A log shows the lines given to ``say``; a moving bar would fill it."""


class _Bar:
    def __init__(self, progress: object, task: object) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int, note: str = "") -> None:
        self._progress.update(self._task, advance=amount, note=printable(note))  # type: ignore[attr-defined]


@contextmanager
def ticker(title: str, total: int, unit: str) -> Iterator[Ticker]:
    """A progress bar with throughput (``unit``/s) and time left while the block runs."""
    if not sys.stderr.isatty() or processes.number():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Throughput(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} {unit}/s" if task.speed else f"- {unit}/s")

    columns = (
        TextColumn(printable(title), markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        Throughput(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        _live.append(progress)
        try:
            yield _Bar(progress, progress.add_task(title, total=total, note=""))
        finally:
            _live.pop()
