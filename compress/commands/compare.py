"""Compare bundles: what changed in size, speed and mAP, and whether the numbers may be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.bundle.manifest import MANIFEST, Entry, Manifest, read_manifest
from compress.contracts import BadInput

_SAME_TEST: Mapping[str, Callable[[Manifest], object]] = {
    "data.dataset": lambda manifest: manifest.data.dataset,
    "data.images": lambda manifest: manifest.data.images,
    "data.classes": lambda manifest: manifest.data.classes,
    "data.splits.test": lambda manifest: manifest.data.splits.get("test"),
    "data.splits.gallery": lambda manifest: manifest.data.splits.get("gallery"),
    "source.queries": lambda manifest: manifest.source.queries,
    "source.rules": lambda manifest: manifest.source.rules,
}
"""Values that must be equal in both bundles, otherwise their mAPs are not comparable."""


@dataclass(frozen=True)
class Difference:
    """One value in both bundles; None where it was not measured or does not exist.

    Attributes:
        change: the second minus the first; None unless both are there.
    """

    what: str
    first: float | None
    second: float | None

    @property
    def change(self) -> float | None:
        return None if self.first is None or self.second is None else self.second - self.first


@dataclass(frozen=True)
class Pair:
    """The same format and precision on the same runtime in both bundles; ``evidence`` is None if a bundle lacks it.

    Attributes:
        failed: names of the failed gates in each bundle.
    """

    artifact: str
    precision: str
    runtime: str
    evidence: tuple[str | None, str | None]
    failed: tuple[tuple[str, ...], tuple[str, ...]]
    values: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """The differences between two bundles.

    Attributes:
        names, folders: of the two bundles.
        model: the PyTorch models' sizes and scores.
        pairs: every artifact of either bundle.
        warnings: why numbers are not comparable, or what must not be mixed; one line each.
    """

    names: tuple[str, str]
    folders: tuple[str, str]
    model: tuple[Difference, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, each difference with its ``change``."""
        values = asdict(self)
        for given, differences in (
            (values["model"], self.model),
            *((pair["values"], own.values) for pair, own in zip(values["pairs"], self.pairs, strict=True)),
        ):
            for value, difference in zip(given, differences, strict=True):
                value["change"] = difference.change
        return values


@dataclass(frozen=True)
class Row:
    """One artifact on one runtime in one of several bundles; values are None where they were not measured.

    Attributes:
        bundle: number of the bundle, from 0.
        failed: names of the failed gates.
    """

    bundle: int
    artifact: str
    precision: str
    runtime: str
    evidence: str
    bytes: float | None
    latency_ms: float | None
    min_cosine: float | None
    mAP: float | None  # noqa: N815 - the name in bundle.json
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Overview:
    """Any number of bundles side by side.

    Attributes:
        names, folders: of each bundle.
        source: the PyTorch models' mAP.
        rows: every artifact of every bundle.
        warnings: why numbers are not comparable with the first bundle's, one line each.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]
    source: tuple[float | None, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def bundles_in(paths: Sequence[Path]) -> list[Path]:
    """The bundles that are meant: each path, or the bundles in it, sorted by name; each once.

    Raises:
        BadInput: a path is no bundle and holds none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = [] if (path / MANIFEST).is_file() else sorted(file.parent for file in path.glob(f"*/{MANIFEST}"))
        if path.is_dir() and not inside and not (path / MANIFEST).is_file():
            raise BadInput(f"{path}: no {MANIFEST} here, and no folder in it has one; name bundles of 'compress run'")
        found |= dict.fromkeys(inside or [path])
    return list(found)


def overview(folders: Sequence[Path]) -> Overview:
    """List the artifacts of several bundles by their manifests; nothing is executed.

    Raises:
        BadInput: one of the folders is not a bundle, or its manifest is damaged.
    """
    manifests = [read_manifest(folder) for folder in folders]
    rows = [_row(number, entry) for number, manifest in enumerate(manifests) for entry in manifest.entries]
    warnings = [
        f"{folder}: {warning}"
        for folder, manifest in zip(folders[1:], manifests[1:], strict=True)
        for warning in _warnings(manifests[0], manifest)
    ]
    return Overview(
        tuple(manifest.name for manifest in manifests),
        tuple(map(str, folders)),
        tuple(manifest.source.mAP for manifest in manifests),
        tuple(rows),
        tuple(warnings),
    )


def _row(bundle: int, entry: Entry) -> Row:
    size, latency, cosine, mean_ap = (read(entry) for read in _VALUES.values())
    return Row(bundle, *_key(entry), entry.evidence, size, latency, cosine, mean_ap, _failed(entry))


def compare(first: Path, second: Path) -> Comparison:
    """Compare two bundles by their manifests; nothing is executed.

    Raises:
        BadInput: one of the folders is not a bundle, or its manifest is damaged.
    """
    one, other = read_manifest(first), read_manifest(second)
    return Comparison(
        (one.name, other.name),
        (str(first), str(second)),
        tuple(_model(one, other)),
        tuple(_pairs(one, other)),
        tuple(_warnings(one, other)),
    )


def _model(one: Manifest, other: Manifest) -> Iterator[Difference]:
    yield Difference("params", one.architecture.params, other.architecture.params)
    yield Difference("macs", one.architecture.macs, other.architecture.macs)
    yield Difference("dim", one.embedding.dim, other.embedding.dim)
    first, second = (dict(manifest.source.metrics()) for manifest in (one, other))
    for name in dict.fromkeys((*first, *second)):
        yield Difference(name, first.get(name), second.get(name))


def _pairs(one: Manifest, other: Manifest) -> Iterator[Pair]:
    first, second = ({_key(entry): entry for entry in manifest.entries} for manifest in (one, other))
    for key in dict.fromkeys((*first, *second)):
        both = (first.get(key), second.get(key))
        yield Pair(
            *key,
            (_evidence(both[0]), _evidence(both[1])),
            (_failed(both[0]), _failed(both[1])),
            tuple(Difference(name, _value(read, both[0]), _value(read, both[1])) for name, read in _VALUES.items()),
        )


def _key(entry: Entry) -> tuple[str, str, str]:
    return entry.suffix, entry.precision, entry.runtime


_VALUES: Mapping[str, Callable[[Entry], float | None]] = {
    "bytes": lambda entry: entry.bytes,
    "latency_ms": lambda entry: None if entry.latency_ms is None else entry.latency_ms.median,
    "min_cosine": lambda entry: None if entry.parity is None else entry.parity.min_cosine,
    "mAP": lambda entry: None if entry.retrieval is None else entry.retrieval.mAP,
}


def _value(read: Callable[[Entry], float | None], entry: Entry | None) -> float | None:
    return None if entry is None else read(entry)


def _evidence(entry: Entry | None) -> str | None:
    return None if entry is None else entry.evidence


def _failed(entry: Entry | None) -> tuple[str, ...]:
    return () if entry is None else tuple(gate.name for gate in entry.failed)


def _warnings(one: Manifest, other: Manifest) -> Iterator[str]:
    for path, read in _SAME_TEST.items():
        values = [read(manifest) for manifest in (one, other)]
        if values[0] != values[1]:
            shown = "differ" if isinstance(values[0], Mapping) else f"are {values[0]} and {values[1]}"
            yield f"mAPs are not comparable: {path} {shown}"
    if one.embedding.space_id != other.embedding.space_id:
        yield "embedding spaces differ: a gallery index of one cannot be searched with artifacts of the other"
    if one.preprocess != other.preprocess:
        yield "preprocessing differs: an app must change how it resizes with the artifact"
