"""Print a bundle as a table: artifact x runtime -> size, latency, parity, mAP, where it ran, gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from compress.system.output import line, printable

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from compress.bundle.manifest import Entry, IndexedGallery
    from compress.bundle.processors import Column
    from compress.catalogue.living_gallery import Update
    from compress.catalogue.living_index import IndexUpdate
    from compress.commands.bench import Timing
    from compress.commands.compare import Comparison, Difference, Overview
    from compress.commands.embed import Job
    from compress.commands.index import Statistics
    from compress.commands.upgrade import Plan
    from compress.commands.verify import VerifiedIndex
    from compress.gallery.nearest import Match
    from validators.results import Scores, Upgrade

_COLUMNS = ("artifact", "size", "latency", "cosine", "mAP", "where", "gates")
_WIDTH = 80
_PLACE = 14
"""Characters for where an artifact ran; a device's name may be longer."""


def print_table(title: str, entries: Iterable[Entry], source: Scores | None = None) -> None:
    """Print to stdout, at most 80 columns wide; without colour if stdout is not a terminal or NO_COLOR is set.

    Args:
        entries: one per artifact and runtime.
        source: the PyTorch model's scores, for the first row.
    """
    table = _table(title, _COLUMNS, numbers=range(1, 5))
    if source is not None:
        _add(table, "PyTorch", "", "", "", _score(source.mAP), "", "")
    for entry in entries:
        _add(table, *_row(entry))
    _print(table)


def print_matrix(entries: Iterable[Entry]) -> None:
    """Print what came of each artifact on each processor and device; nothing if there is only one of these.

    Columns that do not fit in 80 characters go into a further table.
    """
    from compress.bundle.processors import matrix

    found = matrix(entries)
    if len(found.columns) < 2:
        return
    name = max(len(artifact) for artifact, _ in found.rows)
    for columns in _that_fit([max(8, *map(len, (each.name, each.qualifier))) for each in found.columns], name):
        table = _table("", ("artifact", *(_heading(found.columns[number]) for number in columns)), range(0))
        for artifact, cells in found.rows:
            _add(table, artifact, *(cells[number] for number in columns))
        _print(table)


def _heading(column: Column) -> str:
    name = printable(column.name)
    return f"{name}\n{column.qualifier}" if column.qualifier else name


def _that_fit(widths: Sequence[int], beside: int) -> Iterator[list[int]]:
    """Groups of columns, by number, that fit side by side; two characters are between columns."""
    group: list[int] = []
    for number, width in enumerate(widths):
        if group and beside + sum(widths[each] + 2 for each in group) + width + 2 > _WIDTH:
            yield group
            group = []
        group.append(number)
    yield group


def print_timings(timings: Sequence[Timing], threads: int) -> None:
    """Print latencies, the fastest first, each with its ratio to the fastest."""
    timed = sorted((timing for timing in timings if timing.reason is None), key=lambda timing: timing.median)
    table = _table(
        f"{threads} thread(s), one image", ("artifact", "runtime", "median", "p95", "ratio", "memory"), range(2, 6)
    )
    for timing in timed:
        numbers = (f"{timing.median:.3f} ms", f"{timing.p95:.3f} ms", f"{timing.median / timed[0].median:.2f}")
        _add(table, timing.path.rpartition("/")[2], timing.runtime, *numbers, f"{timing.peak_bytes / 1e6:.0f} MB")
    _print(table)


def print_operators(timings: Sequence[Timing], most: int = 8) -> None:
    """Print the ``most`` slowest operators of every profiled artifact, or why there is no profile."""
    for timing in timings:
        if timing.operators is None:
            continue
        name = f"{timing.path.rpartition('/')[2]} on {timing.runtime}"
        if isinstance(timing.operators, str):
            line(f"{name}: {timing.operators}")
            continue
        total = sum(each.milliseconds for each in timing.operators)
        line(f"{name}, by operator:")  # a title would be wrapped to the table's width
        table = _table("", ("operator", "uses", "time", "share"), range(1, 4))
        for each in timing.operators[:most]:
            share = f"{each.milliseconds / total:.0%}" if total else "-"
            _add(table, each.operator, str(each.uses), f"{each.milliseconds:.3f} ms", share)
        _print(table)


def print_matches(matches: Sequence[Match]) -> None:
    """Print rank, distance, label and name, one gallery image per line and untruncated, for people and for awk."""
    labels = [printable(match.label) for match in matches]
    width = max(map(len, labels), default=0)
    for rank, (match, label) in enumerate(zip(matches, labels, strict=True), start=1):
        line(f"{rank:>4}  {match.distance:>10.6g}  {label:<{width}}  {match.name}")


def print_update(file: Path, update: Update, beside: IndexUpdate | None = None, most: int = 5) -> None:
    """Print what ``compress index`` did, and up to ``most`` lines of each kind of remark."""
    line(
        f"{file}: {update.images:,} images; {update.embedded:,} embedded, {update.unchanged:,} unchanged, "
        f"{update.removed:,} removed, {len(update.left_out):,} left out"
    )
    if beside is not None:
        line(f"{beside.file}: {beside.added:,} added, {beside.removed:,} removed")
    remarks = {
        "left out": [f"{name}: {reason}" for name, reason in update.left_out.items()],
        "the same file": [" = ".join(group) for group in update.same_file],
        "other files with the same embedding": [" = ".join(group) for group in update.same_embedding],
        "nearly equal": [" ~ ".join(group) for group in update.similar],
    }
    for what, lines in remarks.items():
        for each in lines[:most]:
            line(f"{what}: {each}")
        if len(lines) > most:
            line(f"{what}: {len(lines) - most:,} more (--json lists them)")


def print_job(job: Job, most: int = 5) -> None:
    """Print what ``compress embed`` did, and up to ``most`` files that it left out."""
    line(f"{job.file}: {job.images:,} images; {job.embedded:,} embedded now, {len(job.left_out):,} left out")
    for name, reason in list(job.left_out.items())[:most]:
        line(f"left out: {name}: {reason}")
    if len(job.left_out) > most:
        line(f"left out: {len(job.left_out) - most:,} more")


def print_statistics(found: Statistics, most: int = 20) -> None:
    """Print what a gallery holds, with its ``most`` frequent labels."""
    line(f"{found.file}: {found.images:,} images, {_size(found.bytes)}, made by {found.artifact} on {found.runtime}")
    frequent = sorted(found.labels.items(), key=lambda item: (-item[1], item[0]))
    table = _table("", ("label", "images"), range(1, 2))
    for label, count in frequent[:most]:
        _add(table, label or "(none)", f"{count:,}")
    _print(table)
    if len(frequent) > most:
        line(f"{len(frequent) - most:,} more labels (--json lists them)")


def index_line(gallery: IndexedGallery) -> str:
    """Describe the gallery's index as recorded in bundle.json, in one line under the table."""
    times, whole = gallery.latency_ms, gallery.whole_gallery
    in_all = "" if whole is None else f" ({_score(whole.recall, 3)} in all {whole.images:,})"
    return (
        f"index: {gallery.index}, recall@10 {_score(gallery.recall, 3)} in {gallery.images:,} images{in_all}, "
        f"{gallery.bytes / 1e6:.2f} MB, {times.query:.3f} ms a query, {times.exact:.3f} without it"
    )


def print_upgrade(upgrade: Upgrade) -> None:
    """Print what the new model's queries find in galleries of the old one, embedded again in part."""
    verdict = "passed" if upgrade.passed else "FAILED"
    line(
        f"old gallery: mAP {_score(upgrade.old_mAP)} with the old model's queries; gain of {upgrade.lowest} "
        f"{_score(upgrade.gain)} ({_score(upgrade.gain_low)} to {_score(upgrade.gain_high)}), {verdict}"
    )
    table = _table("", ("embedded again", "mAP", "queries lost", "queries gained"), range(4))
    for each in upgrade.partly:
        _add(table, f"{each.share:.0%}", _score(each.mAP), f"{each.flips.lost:,}", f"{each.flips.gained:,}")
    _print(table)


def print_plan(found: Plan) -> None:
    """Print whether galleries must be rebuilt, and what each part of that gives; warnings come last."""
    for what, name, folder in zip(("old", "new"), found.names, found.folders, strict=True):
        line(f"{what}  {name}: {folder}")
    line(f"galleries must {'' if found.rebuild else 'not '}be rebuilt: {found.reason}")
    if found.upgrade is not None:
        print_upgrade(found.upgrade)
        line(f"of {found.upgrade.queries:,} queries, 'lost' found the right thing first with the old model only")
    for warning in found.warnings:
        line(warning)


def verified_index_line(index: VerifiedIndex) -> str:
    """Describe what ``verify`` measured on the gallery's index, in one line."""
    if index.reason is not None:
        return f"index: {index.index} was not searched: {index.reason}"
    return f"index: {index.index}, finds {_score(index.golden_recall, 3)} of the golden images' neighbours"


def print_comparison(comparison: Comparison) -> None:
    """Print two bundles side by side, A and B, with what changed; warnings come last."""
    for letter, name, folder in zip("AB", comparison.names, comparison.folders, strict=True):
        line(f"{letter}  {name}: {folder}")
    table = _table("", ("artifact", "", "A", "B", "change"), numbers=range(2, 5))
    _compare_rows(table, "PyTorch", comparison.model)
    for pair in comparison.pairs:
        _compare_rows(table, f"{pair.artifact} {pair.precision}", pair.values)
        found = [value or "-" for value in pair.evidence]
        _add(table, f"  {pair.runtime}", "evidence", *found, "" if found[0] == found[1] else "changed")
        if any(pair.failed):
            _add(table, "", "gates", *(f"{len(failed)} FAILED" if failed else "passed" for failed in pair.failed), "")
    _print(table)
    for warning in comparison.warnings:
        line(warning)
    line("each bundle was timed when it was made; 'compress bench' times again")


def print_overview(found: Overview) -> None:
    """Print several bundles in one table, numbered as they are listed above it; warnings come last."""
    for number, (name, folder) in enumerate(zip(found.names, found.folders, strict=True), start=1):
        line(f"{number}  {name}: {folder}")
    table = _table("", ("bundle", "artifact", "size", "latency", "cosine", "mAP", "on", "gates"), numbers=range(2, 6))
    for number, mean_ap in enumerate(found.source):
        _add(table, str(number + 1), "PyTorch", "", "", "", _score(mean_ap), "", "")
        for row in (row for row in found.rows if row.bundle == number):
            latency = "-" if row.latency_ms is None else _milliseconds(row.latency_ms)
            size = "-" if row.bytes is None else _size(int(row.bytes))
            gates = f"{len(row.failed)} FAILED" if row.failed else "passed" if row.evidence != "not-run" else "not run"
            cells = (size, latency, _score(row.min_cosine, 4), _score(row.mAP), _short(row.runtime), gates)
            _add(table, "", f"{row.artifact} {row.precision}", *cells)
    _print(table)
    for warning in found.warnings:
        line(warning)
    line("each bundle was timed when it was made; 'compress bench' times again")


def print_trials(rows: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Print trials of 'compress tune': number, mAP, milliseconds, bytes, what it is."""
    table = _table("", ("trial", "mAP", "ms", "bytes", ""), numbers=range(1, 4))
    for row in rows:
        _add(table, *row)
    _print(table)


def _compare_rows(table: Table, title: str, values: Sequence[Difference]) -> None:
    for number, value in enumerate(values):
        write = _WRITERS.get(value.what, _score)
        both = [write(each) if each is not None else "-" for each in (value.first, value.second)]
        _add(table, title if number == 0 else "", _WORDS.get(value.what, value.what), *both, _change(value))


def _change(value: Difference) -> str:
    """A change in percent for values with a unit, as a difference for scores."""
    if value.change is None:
        return ""
    if value.what in _WRITERS and value.what != "min_cosine":
        percent = round(100 * value.change / value.first) if value.first else 0
        return f"{percent:+d}%" if percent else "0"
    digits = 6 if value.what == "min_cosine" else 4
    return f"{round(value.change, digits) + 0.0:+.{digits}f}" if round(value.change, digits) else "0"


def _table(title: str, columns: Sequence[str], numbers: range) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=printable(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position in numbers else "left", no_wrap=True)
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(printable, cells))


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)


def _row(entry: Entry) -> list[str]:
    gates, failed = entry.gates, entry.failed
    cosine = None if entry.parity is None else entry.parity.min_cosine
    from compress.bundle.processors import outcome, where

    # Their names would make the table wider than 80 columns; they are listed below it.
    came = outcome(entry)
    verdict = {"FAILED": f"{len(failed)} FAILED", "passed": f"{len(gates)} passed"}.get(came, came)
    return [
        f"{entry.suffix} {entry.precision}",
        _size(entry.bytes),
        "-" if entry.latency_ms is None else _milliseconds(entry.latency_ms.median),
        _score(cosine, 6),
        _score(None if entry.retrieval is None else entry.retrieval.mAP),
        _short(printable(where(entry))),
        verdict,
    ]


def _short(place: str) -> str:
    """The text in at most ``_PLACE`` characters: a device's name without its maker, then cut."""
    if len(place) > _PLACE and " " in place and not place.startswith(("x86", "Arm", "older", "reference")):
        place = place.partition(" ")[2]
    return place if len(place) <= _PLACE else f"{place[: _PLACE - 1]}…"


def _size(count: int) -> str:
    return f"{_three_digits(count / 1e6)} MB"


def _milliseconds(value: float) -> str:
    return f"{_three_digits(value)} ms"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _score(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


_WORDS = {
    "params": "parameters",
    "macs": "MACs",
    "dim": "values",
    "bytes": "size",
    "latency_ms": "latency",
    "min_cosine": "cosine",
}
_WRITERS: Mapping[str, Callable[[float], str]] = {
    "params": lambda value: f"{value:,}",
    "macs": lambda value: f"{value:,}",
    "dim": lambda value: f"{value:,}",
    "bytes": lambda value: _size(int(value)),
    "latency_ms": lambda value: _milliseconds(value),
    "min_cosine": lambda value: f"{value:.6f}",
}
"""How each value of a comparison is formatted; scores as in the table of a run."""


def notes(entries: Iterable[Entry]) -> list[str]:
    """List why artifacts were not executed, notes of runtimes, and why PyTorch Mobile would refuse a file."""
    return [f"{entry.path}: {words}" for entry in entries for words in _notes(entry)]


def _notes(entry: Entry) -> list[str]:
    found = [f"not run: {entry.reason}"] if entry.reason else list(entry.notes)
    return found + [f"PyTorch Mobile would refuse it: {problem}" for problem in entry.mobile_problems or ()]


def columns(entries: dict[str, str]) -> list[str]:
    """Format one line per entry: the names padded to one width, then the texts."""
    width = max((len(name) for name in entries), default=0)
    return [f"{name:<{width}}  {text}" for name, text in entries.items()]
