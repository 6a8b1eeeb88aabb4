"""Two bundles side by side: what changed in size, speed and mAP, and whether the numbers may be compared at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.bundle.manifest import entries, json_values, read_manifest

_SAME_TEST = (
    "data.dataset",
    "data.images",
    "data.classes",
    "data.splits.test",
    "data.splits.gallery",
    "source.queries",
    "source.rules",
)
"""What two mAPs must share to mean the same."""


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
    """The same format and precision on the same runtime in both bundles; ``evidence`` None where a bundle lacks it.

    Attributes:
        failed: names of the failed gates, of each bundle.
    """

    artifact: str
    precision: str
    runtime: str
    evidence: tuple[str | None, str | None]
    failed: tuple[tuple[str, ...], tuple[str, ...]]
    values: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """Attributes:
    names, folders: of the two bundles.
    model: the PyTorch models' sizes and scores.
    pairs: every artifact of either bundle.
    warnings: why numbers mean different things, or what may not be mixed; one line each.
    """

    names: tuple[str, str]
    folders: tuple[str, str]
    model: tuple[Difference, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, each difference with its ``change``."""
        values: dict[str, Any] = json_values(asdict(self))
        for given, differences in (
            (values["model"], self.model),
            *((pair["values"], own.values) for pair, own in zip(values["pairs"], self.pairs, strict=True)),
        ):
            for value, difference in zip(given, differences, strict=True):
                value["change"] = difference.change
        return values


def compare(first: Path, second: Path) -> Comparison:
    """Compare two bundles by their manifests; nothing is executed.

    Raises:
        BadInput: one of them is no bundle, or its manifest is damaged.
    """
    one, other = read_manifest(first), read_manifest(second)
    return Comparison(
        (one["name"], other["name"]),
        (str(first), str(second)),
        tuple(_model(one, other)),
        tuple(_pairs(one, other)),
        tuple(_warnings(one, other)),
    )


def _model(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    for name in ("params", "macs"):
        yield Difference(name, one["architecture"][name], other["architecture"][name])
    yield Difference("dim", one["embedding"]["dim"], other["embedding"]["dim"])
    for name in dict.fromkeys((*one["source"], *other["source"])):
        values = [manifest["source"].get(name) for manifest in (one, other)]
        if any(isinstance(value, float) for value in values):
            yield Difference(name, *values)


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Pair]:
    first, second = ({_key(entry): entry for entry in entries(manifest)} for manifest in (one, other))
    for key in dict.fromkeys((*first, *second)):
        both = (first.get(key), second.get(key))
        values = [_values(entry) for entry in both]
        yield Pair(
            *key,
            (_evidence(both[0]), _evidence(both[1])),
            (_failed(both[0]), _failed(both[1])),
            tuple(Difference(name, values[0].get(name), values[1].get(name)) for name in _VALUES),
        )


def _key(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return (f".{entry['path'].rpartition('.')[2]}", entry["precision"], entry["runtime"])


_VALUES = ("bytes", "latency_ms", "min_cosine", "mAP")


def _values(entry: Mapping[str, Any] | None) -> dict[str, float | None]:
    if entry is None:
        return {}
    parity, retrieval, latency = (entry.get(key) or {} for key in ("parity", "retrieval", "latency_ms"))
    found = (entry["bytes"], latency.get("median"), parity.get("min_cosine"), retrieval.get("mAP"))
    return dict(zip(_VALUES, found, strict=True))


def _evidence(entry: Mapping[str, Any] | None) -> str | None:
    return None if entry is None else entry.get("evidence")


def _failed(entry: Mapping[str, Any] | None) -> tuple[str, ...]:
    return () if entry is None else tuple(gate["name"] for gate in entry["gates"] if not gate.get("passed"))


def _warnings(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for path in _SAME_TEST:
        values = [_at(manifest, path) for manifest in (one, other)]
        if values[0] != values[1]:
            shown = "differ" if isinstance(values[0], Mapping) else f"are {values[0]} and {values[1]}"
            yield f"mAPs are not comparable: {path} {shown}"
    spaces = [manifest["embedding"].get("space_id") for manifest in (one, other)]
    if spaces[0] != spaces[1]:
        yield "embedding spaces differ: a gallery index of one cannot be searched with artifacts of the other"
    if one["preprocess"] != other["preprocess"]:
        yield "preprocessing differs: an app must change how it resizes with the artifact"


def _at(manifest: Mapping[str, Any], path: str) -> Any:
    value: Any = manifest
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
