"""Fill the template of the page with the charts and tables that the other files of this folder make.

The template escapes every value, and the page's policy forbids scripts and loading, so that class names and file names
of the data cannot execute anything.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.bundle.manifest import MANIFEST
from compress.bundle.processors import matrix
from compress.bundle.rankings import RANKINGS
from compress.contracts import BadInput
from compress.report.artifacts import Row, rows
from compress.report.compatibility import heat_map
from compress.report.devices import device_rows
from compress.report.numbers import megabytes, score
from compress.report.photos import photograph_ways
from compress.report.problems import problems
from compress.report.pruning import pruning
from compress.report.queries import examples
from compress.report.retrieval import class_rows, precision_recall_chart, unranked
from compress.report.source import Source, read_source
from compress.report.tradeoffs import tradeoff_charts
from compress.report.training import training_charts
from compress.report.upgrade import old_galleries
from compress.report.worst import worst_images
from compress.system.files import write_text

if TYPE_CHECKING:
    from jinja2 import Template

REPORT = "report.html"
"""The path of the report in a bundle."""


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a bundle, atomically; the same bundle gives the same bytes.

    Raises:
        BadInput: there is no bundle, or one of its files is damaged.
    """
    from jinja2 import UndefinedError

    path, source = folder / REPORT, read_source(folder)
    try:
        page = render(source)
    except (LookupError, TypeError, ValueError, AttributeError, UndefinedError) as error:
        raise BadInput(
            f"{folder}: {MANIFEST}, {RANKINGS} or metrics.jsonl is damaged ({error!r}); run its recipe again"
        ) from error
    write_text(path, page)
    return path


def render(source: Source) -> str:
    """Render the page as HTML."""
    return template("compress.report", "report.html.j2").render(_content(source))


@functools.cache
def template(package: str, name: str) -> Template:
    """A page's template in the folder ``templates`` of ``package``; it may use those of the report."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    packages = dict.fromkeys((package, "compress.report"))
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(each) for each in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _content(source: Source) -> dict[str, Any]:
    manifest, table = source.manifest, rows(source)
    classes, folded_classes = class_rows(source)
    return {
        "manifest": manifest,
        "failed": len(manifest.failures),
        "problems": problems(manifest.failures),
        "highlights": _highlights(source, table),
        "facts": _facts(source),
        "rows": table,
        "binary": manifest.embedding.kind == "binary",
        "gates": list(dict.fromkeys(gate.name for row in table for gate in row.gates)),
        "matrix": matrix(source.entries),
        "devices": device_rows(source),
        "training": training_charts(source.metrics),
        "tradeoffs": tradeoff_charts(source),
        "precision_recall": precision_recall_chart(source),
        "measured": source.rankings and source.rankings.measured,
        "indexed": source.rankings and source.rankings.gallery,
        "classes": classes,
        "folded_classes": folded_classes,
        "unranked": unranked(source),
        "examples": examples(source),
        "worst": worst_images(source),
        "photographs": photograph_ways(source),
        "heat_map": heat_map(source),
        "old_galleries": old_galleries(source),
        "pruning": pruning(source),
        "controls": manifest.controls,
        "rules": manifest.source.rules,
        "scores": [(name, score(value)) for name, value in manifest.source.metrics()],
        "recipe": source.recipe,
    }


def _highlights(source: Source, table: list[Row]) -> list[tuple[str, str, str]]:
    """The few numbers most people look for: name, value, explanation."""
    found = [("mAP", score(source.manifest.source.mAP), "of the PyTorch model")]
    smallest = min(source.entries, key=lambda entry: entry.bytes, default=None)
    if smallest is not None:
        found.append(("smallest", megabytes(smallest.bytes), source.name_of(smallest)))
    here = [entry for entry in source.entries if entry.device is None]
    timed = [(entry.latency_ms.median, entry) for entry in here if entry.latency_ms is not None]
    if timed:
        median, fastest = min(timed, key=lambda each: each[0])
        found.append(("fastest", f"{median:.2f} ms", f"{source.name_of(fastest)}, one image on this machine"))
    gates = [gate for row in table for gate in row.gates]
    if gates:
        passed = sum(gate.passed for gate in gates)
        found.append(("gates", f"{passed} of {len(gates)}", "passed"))
    return found


def _facts(source: Source) -> list[tuple[str, str]]:
    manifest = source.manifest
    architecture, embedding, data = manifest.architecture, manifest.embedding, manifest.data
    height, width = architecture.input
    facts = [
        ("network", f"{architecture.name}, {architecture.params:,} parameters"),
        ("work", f"{architecture.macs:,} multiply-accumulates an image of {height} x {width} pixels"),
        (
            "as OMCBIR counts",
            f"{architecture.paper_params:,} parameters (Eq. 6), {architecture.paper_flops:,} FLOPs (Eq. 5), "
            f"{architecture.macs_with_batch_norm:,} MACs with batch normalisation",
        ),
        ("embedding", f"{embedding.dim} values, {embedding.kind}, {embedding.distance} distance"),
        ("data", f"{data.dataset}, {data.images:,} images in {data.classes:,} classes"),
        ("splits", ", ".join(f"{count:,} {name}" for name, count in data.splits.items())),
    ]
    if data.duplicates or data.skipped:
        skipped = f"{len(data.skipped):,} files or folders that are no readable image"
        facts.append(("left out", f"{data.duplicates:,} duplicates, {skipped}"))
    facts.append(("licence", manifest.license))
    return facts
