"""The bundle as a table for people: format x precision -> size, latency, parity, mAP, evidence, gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_COLUMNS = ("artifact", "size", "latency", "min cosine", "mAP", "evidence", "gates")


def print_table(title: str, entries: Iterable[Mapping[str, Any]], source: Mapping[str, Any] | None = None) -> None:
    """Print to stdout, at most 80 columns wide; without colour or lines where stdout is not a terminal.

    Args:
        entries: as in bundle.json, one per artifact and runtime.
        source: the PyTorch model's scores, for the first row.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 80
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if 1 <= number <= 4 else "left", no_wrap=True)
    if source is not None:
        table.add_row("PyTorch", "", "", "", _score(source.get("mAP")), "reference", "")
    for entry in entries:
        table.add_row(*_row(entry))
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
    """Why artifacts were not executed, one line each."""
    return [f"{entry['path']}: not run: {entry['reason']}" for entry in entries if entry.get("reason")]
