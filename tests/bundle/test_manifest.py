"""bundle.json: what reads must be what was written, and no key can be lost, renamed or added unseen."""

from __future__ import annotations

import copy
import functools
import json
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from compress.bundle.manifest import (
    Control,
    IndexedGallery,
    IndexLatency,
    IndexMeasurement,
    Manifest,
    read_manifest,
    uncaught,
)
from compress.contracts import BadInput
from tests._command import compress_here
from tests.conftest import Finished
from validators.results import Gate, Part, PhotoWay, PhotoWays, Threshold, Thresholds

STORED = Path(__file__).parent / "data/bundle-0.1.0.json"
"""Written by version 0.1.0, before its keys had types."""

OPTIONAL = {
    *("pytorch_mobile", "stored", "minimum_ios"),
    *("parity", "ranking", "retrieval", "latency_ms", "notes", "neighbours"),
    *("bit_flip_rate", "margins", "worst_image", "worst_image_file"),
    *("queries", "empty_queries", "rules", "ratio"),
    *(
        "thresholds",
        "photos",
        "false_accepts",
        "rate_low",
        "rate_high",
        "true_accept_rate",
        "found_rate",
        "false_match_rate",
    ),
}
"""What may be missing: a value that was not measured, or that a format does not have."""

Key = tuple[str | int, ...]
Change = Callable[[dict[str, Any], str], None]


@pytest.fixture
def whole(tmp_path: Path) -> Manifest:
    """The stored manifest, with an index, thresholds and photographs."""
    manifest = stored(tmp_path)
    measured = IndexMeasurement(
        images=1000,
        bytes=100,
        recall=0.95,
        latency_ms=IndexLatency(build=1.0, query=1.0, exact=2.0, threads=1),
    )
    gallery = IndexedGallery(
        **dict(measured),
        of=2000,
        index="lsh",
        options={"tables": 8},
        path="gallery/index.sqlite",
        queries=100,
        golden_recall=1.0,
        whole_gallery=measured,
        gates=(Gate(name="index_recall", limit=0.9, value=0.95, passed=True),),
    )
    at = Threshold(
        false_accept_rate=0.01,
        distance=0.3,
        source_distance=0.3,
        false_accepts=10,
        rate_low=0.005,
        rate_high=0.02,
        true_accept_rate=0.5,
        found_rate=0.5,
        false_match_rate=0.1,
    )
    thresholds = Thresholds(pairs=1000, matching_pairs=100, at=(at,), shift=0.0)
    first, *others = manifest.artifacts
    way = PhotoWay(way="resize nearest", bytes_changed=0.9, mean_levels=3.0, mAP=0.8, mAP_drop=0.1)
    photos = PhotoWays(queries=20, mAP=0.9, mAP_drop=0.1, worst="resize nearest", ways=(way,))
    artifacts = (first.model_copy(update={"thresholds": thresholds, "photos": photos}), *others)
    return manifest.model_copy(update={"gallery": gallery, "artifacts": artifacts})


def stored(folder: Path) -> Manifest:
    (folder / "bundle.json").write_bytes(STORED.read_bytes())
    return read_manifest(folder)


def keys(part: Part, at: Key = ()) -> Iterator[Key]:
    """The path of every key that bundle.json holds of a part and of the parts in it."""
    written = part.to_json()
    for name, field in type(part).model_fields.items():
        key = field.serialization_alias or name
        if key not in written:
            continue
        yield (*at, key)
        value = getattr(part, name)
        for number, item in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            if isinstance(item, Part):
                yield from keys(item, (*at, key) if number is None else (*at, key, number))


def complaint(folder: Path, document: dict[str, Any]) -> str:
    """The line that refuses a manifest; empty where it reads."""
    (folder / "bundle.json").write_text(json.dumps(document), encoding="utf-8")
    try:
        read_manifest(folder)
    except BadInput as error:
        return str(error)
    return ""


def drop(part: dict[str, Any], key: str) -> None:
    del part[key]


def rename(part: dict[str, Any], key: str) -> None:
    part[f"{key}x"] = part.pop(key)


def add(part: dict[str, Any], key: str) -> None:
    part[f"{key}x"] = part[key]


def retype(part: dict[str, Any], key: str) -> None:
    part[key] = [{}]


@pytest.mark.every_change("rename", "retype")
@pytest.mark.parametrize(
    ("change", "accepted"),
    [(drop, OPTIONAL), (rename, set()), (add, set()), (retype, set())],
    ids=["drop", "rename", "add", "retype"],
)
def test_every_key_is_needed_under_its_name_and_with_its_type(
    whole: Manifest, tmp_path: Path, change: Change, accepted: set[str]
) -> None:
    document = whole.to_json()
    # Of several artifacts and gates, the first with a key stands for all.
    paths = {tuple(step for step in path if isinstance(step, str)): path for path in reversed([*keys(whole)])}
    assert len(paths) > 100
    assert complaint(tmp_path, document) == ""
    read = set()
    for *parents, key in paths.values():
        changed = copy.deepcopy(document)
        change(functools.reduce(operator.getitem, parents, changed), key)
        line = complaint(tmp_path, changed)
        if line:
            assert f"{tmp_path / 'bundle.json'}: damaged (" in line
            assert key in line.partition("damaged")[2]
            assert "\n" not in line
        else:
            read.add(key)
    assert read == accepted


def test_a_renamed_latency_is_refused(tmp_path: Path) -> None:
    document = stored(tmp_path).to_json()
    document["artifacts"][0]["latency"] = document["artifacts"][0].pop("latency_ms")
    assert "(artifacts.0.latency: Extra inputs are not permitted)" in complaint(tmp_path, document)


def test_a_metric_may_have_any_name_of_a_metric_and_no_other(tmp_path: Path) -> None:
    document = stored(tmp_path).to_json()
    document["source"]["mAP@7/best"] = 0.5
    assert complaint(tmp_path, document) == ""
    document["source"]["accuracy"] = 0.5
    assert "'accuracy' is neither a key nor a metric" in complaint(tmp_path, document)


def test_the_first_versions_bundles_still_read(tmp_path: Path) -> None:
    manifest = stored(tmp_path)
    assert manifest.to_json() == json.loads(STORED.read_text(encoding="utf-8"))
    assert [artifact.format for artifact in manifest.artifacts] == [
        *("torchscript", "torchscript-lite", "onnx", "tflite", "coreml", "coreml")
    ]
    assert manifest.failures == ()


def test_a_finished_bundle_reads_as_it_was_written_and_keeps_the_printed_schema(finished: Finished) -> None:
    document = json.loads((finished.folder / "bundle.json").read_text(encoding="utf-8"))
    assert read_manifest(finished.folder).to_json() == document
    printed = compress_here("schema", "--bundle")
    assert printed.code == 0
    schema = jsonschema_rs.validator_for(json.loads(printed.stdout))
    schema.validate(document)
    schema.validate(json.loads(STORED.read_text(encoding="utf-8")))
    document["artifacts"][0]["latency"] = document["artifacts"][0].pop("latency_ms")
    assert not schema.is_valid(document)


def control(precision: str, caught: bool) -> Control:
    return Control(name="channel_swap", precision=precision, failed_gates=(), caught=caught)


def test_a_control_that_no_precision_of_the_run_catches_is_a_failure() -> None:
    passed = uncaught([control("w8a8", caught=False), control("p4", caught=False)])
    assert [line.split(",")[0] for line in passed] == [
        "control channel_swap: passed every w8a8 gate",
        "control channel_swap: passed every p4 gate",
    ]


def test_a_finer_precision_speaks_for_the_coarser_ones() -> None:
    assert not [*uncaught([control("fp32", caught=True), control("p4", caught=False)])]
