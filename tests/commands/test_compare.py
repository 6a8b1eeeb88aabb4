"""Two bundles side by side: what is paired, what changed, and what may not be compared."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.commands.compare import compare
from compress.contracts import BadInput
from tests._command import compress
from tests.conftest import Finished


@pytest.fixture
def changed(finished: Finished, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """changed(edit) -> a copy of the finished bundle's manifest, edited."""

    def make(edit: Callable[[dict[str, Any]], None]) -> Path:
        manifest = json.loads((finished.folder / "bundle.json").read_text(encoding="utf-8"))
        edit(manifest)
        (tmp_path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
        return tmp_path

    return make


def test_a_bundle_compared_with_itself_has_no_difference(finished: Finished) -> None:
    found = compare(finished.folder, finished.folder)
    assert len(found.pairs) == 5
    assert not found.warnings
    changes = [value.change for pair in found.pairs for value in pair.values] + [value.change for value in found.model]
    assert set(changes) <= {0, None}
    assert changes.count(0) >= 25


def test_differences_are_second_minus_first(finished: Finished, changed: Callable[..., Path]) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        tflite = next(each for each in manifest["artifacts"] if each["format"] == "tflite")
        tflite["bytes"] -= 1000
        tflite["retrieval"]["mAP"] -= 0.25
        tflite["latency_ms"]["median"] *= 2
        tflite["gates"][0]["passed"] = False
        manifest["architecture"]["params"] -= 7
        manifest["artifacts"] = [each for each in manifest["artifacts"] if each["format"] != "onnx"]
        extra = copy.deepcopy(tflite)
        manifest["artifacts"].append({**extra, "precision": "w8", "path": "artifacts/tiny.w8.tflite"})

    found = compare(finished.folder, changed(edit))
    pairs = {(pair.artifact, pair.precision): pair for pair in found.pairs}
    assert len(pairs) == 6
    values = {value.what: value for value in pairs[".tflite", "fp32"].values}
    assert values["bytes"].change == -1000
    assert values["mAP"].change == pytest.approx(-0.25)
    assert values["latency_ms"].second == pytest.approx(2 * (values["latency_ms"].first or 0))
    assert pairs[".tflite", "fp32"].failed[0] == ()
    assert len(pairs[".tflite", "fp32"].failed[1]) == 1
    assert pairs[".onnx", "fp32"].evidence == ("native", None)
    assert pairs[".tflite", "w8"].evidence == (None, "native")
    assert {value.change for value in pairs[".tflite", "w8"].values} == {None}
    assert {value.what: value.change for value in found.model}["params"] == -7


@pytest.mark.parametrize(
    ("section", "key", "value", "warning"),
    [
        ("data", "dataset", "other", "mAPs are not comparable: data.dataset are"),
        ("source", "queries", 61, "mAPs are not comparable: source.queries are 60 and 61"),
        ("embedding", "space_id", "other", "embedding spaces differ"),
        ("preprocess", "mean", [0.1, 0.2, 0.3], "preprocessing differs"),
    ],
)
def test_what_must_not_be_mixed_is_said(
    finished: Finished, changed: Callable[..., Path], section: str, key: str, value: Any, warning: str
) -> None:
    other = changed(lambda manifest: manifest[section].update({key: value}))
    (found,) = compare(finished.folder, other).warnings
    assert found.startswith(warning)


def test_another_gallery_is_another_test(finished: Finished, changed: Callable[..., Path]) -> None:
    other = changed(lambda manifest: manifest["data"]["splits"].update({"gallery": 24}))
    (found,) = compare(finished.folder, other).warnings
    assert found == "mAPs are not comparable: data.splits.gallery are None and 24"


def test_the_command_prints_a_table_or_json(finished: Finished, changed: Callable[..., Path]) -> None:
    other = changed(lambda manifest: manifest["source"].update({"mAP": 0.5}))
    ended = compress("compare", finished.folder, other)
    assert ended.code == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == f"A  tiny: {finished.folder}"
    assert lines[1] == f"B  tiny: {other}"
    (score,) = [line for line in lines if re.match(r" +mAP +\S+ +0\.5000 ", line)]
    assert re.search(r"[+-]0\.\d{4}\s*$", score)
    assert all(len(line) <= 80 for line in lines[2:])
    assert "…" not in ended.stdout
    ended = compress("compare", finished.folder, other, "--json")
    values = json.loads(ended.stdout)
    (model,) = [value for value in values["model"] if value["what"] == "mAP"]
    assert model["change"] == pytest.approx(0.5 - model["first"])
    assert {value["what"] for value in values["pairs"][0]["values"]} == {"bytes", "latency_ms", "min_cosine", "mAP"}


def test_any_number_of_bundles_and_a_folder_of_them_are_listed(
    finished: Finished, changed: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = changed(lambda manifest: manifest["source"].update({"queries": 61}))
    shelf = tmp_path_factory.mktemp("shelf")
    for name, manifest in (("a", finished.folder), ("b", other), ("c", finished.folder)):
        (shelf / name).mkdir()
        shutil.copy(manifest / "bundle.json", shelf / name)
    (shelf / "no bundle").mkdir()
    ended = compress("compare", shelf, "--json")
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["folders"] == [str(shelf / name) for name in "abc"]
    assert [row["bundle"] for row in found["rows"]] == [0] * 5 + [1] * 5 + [2] * 5
    first, last = found["rows"][:5], found["rows"][-5:]
    assert [{**row, "bundle": 0} for row in last] == first
    assert found["warnings"] == [f"{shelf / 'b'}: mAPs are not comparable: source.queries are 60 and 61"]
    ended = compress("compare", finished.folder, shelf / "b", shelf / "c", finished.folder)  # each once
    assert ended.stdout.splitlines()[:3] == [
        f"1  tiny: {finished.folder}",
        f"2  tiny: {shelf / 'b'}",
        f"3  tiny: {shelf / 'c'}",
    ]
    assert ended.stdout.count(".tflite fp32") == 3
    assert all(len(line) <= 80 for line in ended.stdout.splitlines()[3:-2])
    ended = compress("compare", shelf / "no bundle")
    assert ended.code == 2 and "no bundle.json here" in ended.complaint


def test_no_bundle_is_bad_input(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no bundle\.json here"):
        compare(finished.folder, tmp_path)


def test_the_report_command_writes_the_page_again(finished: Finished, tmp_path: Path) -> None:
    bundle = shutil.copytree(finished.folder, tmp_path / "bundle")
    before = (bundle / "report.html").read_bytes()
    (bundle / "report.html").unlink()
    ended = compress("report", bundle)
    assert (ended.code, ended.stdout.strip()) == (0, str(bundle / "report.html"))
    assert (bundle / "report.html").read_bytes() == before
    assert compress("report", tmp_path).code == 2
