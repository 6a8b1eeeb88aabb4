"""The bundle as a table for people: format x precision -> size, latency, parity, mAP, evidence, gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from compress.bench import Timing
    from compress.search import Match

_COLUMNS = ("artifact", "size", "latency", "min cosine", "mAP", "evidence", "gates")


def print_table(title: str, entries: Iterable[Mapping[str, Any]], source: Mapping[str, Any] | None = None) -> None:
    """Print to stdout, at most 80 columns wide; without colour or lines where stdout is not a terminal.

    Args:
        entries: as in bundle.json, one per artifact and runtime.
        source: the PyTorch model's scores, for the first row.
    """
    table = _table(title, _COLUMNS, numbers=range(1, 5))
    if source is not None:
        table.add_row("PyTorch", "", "", "", _score(source.get("mAP")), "reference", "")
    for entry in entries:
        table.add_row(*_row(entry))
    _print(table)


def print_timings(timings: Sequence[Timing], threads: int) -> None:
    """Print latencies, the fastest first, each with its ratio to the fastest."""
    timed = sorted((timing for timing in timings if timing.reason is None), key=lambda timing: timing.median)
    table = _table(
        f"{threads} thread(s), one image", ("artifact", "runtime", "median", "p95", "ratio", "memory"), range(2, 6)
    )
    for timing in timed:
        numbers = (f"{timing.median:.3f} ms", f"{timing.p95:.3f} ms", f"{timing.median / timed[0].median:.2f}")
        table.add_row(timing.path.rpartition("/")[2], timing.runtime, *numbers, f"{timing.peak_bytes / 1e6:.0f} MB")
    _print(table)


def print_matches(matches: Sequence[Match]) -> None:
    """Print rank, distance, label and name, one gallery image a line and none cut short, for eyes and for awk."""
    width = max((len(match.label) for match in matches), default=0)
    for rank, match in enumerate(matches, start=1):
        print(f"{rank:>4}  {match.distance:>10.6g}  {match.label:<{width}}  {match.name}")


def _table(title: str, columns: Sequence[str], numbers: range) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position in numbers else "left", no_wrap=True)
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 80
    console.print(table)


def _row(entry: Mapping[str, Any]) -> list[str]:
    parity, retrieval, latency = (entry.get(key) or {} for key in ("parity", "retrieval", "latency_ms"))
    gates = entry["gates"]
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    verdict = (
        "FAILED " + ", ".join(failed) if failed else (f"{len(gates)} passed" if entry["evidence"] != "not-run" else "-")
    )
    suffix = entry["path"].rpartition(".")[2]
    return [
        f".{suffix} {entry['precision']}",
        _size(entry["bytes"]),
        f"{latency['median']:.2f} ms" if latency else "-",
        f"{parity['min_cosine']:.6f}" if parity.get("min_cosine") is not None else "-",
        _score(retrieval.get("mAP")),
        entry["evidence"],
        verdict,
    ]


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def notes(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why artifacts were not executed, what a runtime noticed and what PyTorch Mobile would refuse, one line each."""
    return [f"{entry['path']}: {words}" for entry in entries for words in _notes(entry)]


def _notes(entry: Mapping[str, Any]) -> list[str]:
    found = [f"not run: {entry['reason']}"] if entry.get("reason") else list(entry.get("notes", []))
    mobile = entry.get("pytorch_mobile") or {"problems": []}
    return found + [f"PyTorch Mobile would refuse it: {problem}" for problem in mobile["problems"]]
