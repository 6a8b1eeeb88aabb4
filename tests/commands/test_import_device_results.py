"""What a phone measured becomes a row whose scores are computed here; nothing that does not belong is taken."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.bundle.consistency import checksum, inconsistencies
from compress.bundle.device_rows import with_earlier_rows
from compress.bundle.golden import Golden, read_golden
from compress.bundle.manifest import ArtifactEntry, Manifest, read_manifest
from compress.bundle.write_manifest import write_manifest
from compress.commands.import_device_results import import_device_results
from compress.commands.verify import verify
from compress.contracts import BadInput
from tests._command import compress
from tests.conftest import Finished
from validators import run_artifact


@pytest.fixture(scope="module")
def small(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "bundle"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(".compress"))
    return folder


@pytest.fixture
def bundle(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def golden(small: Path) -> Golden:
    return read_golden(small / "golden")


@pytest.fixture(scope="module")
def embeddings(small: Path, golden: Golden) -> np.ndarray:
    """What the .tflite file really gives."""
    return run_artifact(small / "artifacts/tiny.fp32.tflite", golden.images)


def packed(embeddings: np.ndarray) -> dict[str, Any]:
    return {"shape": list(embeddings.shape), "base64": base64.b64encode(embeddings.astype("<f4").tobytes()).decode()}


def results(bundle: Path, embeddings: np.ndarray, **changes: Any) -> dict[str, Any]:
    """A file of device results as the samples write it."""
    artifact = {
        "path": "artifacts/tiny.fp32.tflite",
        "sha256": hashlib.sha256((bundle / "artifacts/tiny.fp32.tflite").read_bytes()).hexdigest(),
        "processor": "arm",
        "embeddings": packed(embeddings),
        "latency_ms": {"median": 1.5, "p95": 2.5, "threads": 1},
        "pipeline_ms": {"median": 9.5, "p95": 12.0},
        "load_ms": 30.5,
        "peak_bytes": 90_000_000,
        "delegate_share": 1.0,
    }
    return {
        "schema": 1,
        "golden_sha256": hashlib.sha256((bundle / "golden/images.u8").read_bytes()).hexdigest(),
        "device": {"model": "Google Pixel 8", "system": "Android 16"},
        "runtime": {"name": "litert", "version": "2.1.0"},
        "measured": {"by": "app team", "at": "2026-11-27"},
        "artifacts": [{**artifact, **changes}],
    }


def saved(values: Any, folder: Path) -> Path:
    path = folder / "results.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def tflite(manifest: Manifest) -> ArtifactEntry:
    (found,) = (each for each in manifest.artifacts if each.format == "tflite")
    return found


def test_a_phones_row_has_the_scores_that_verify_measures(bundle: Path, embeddings: np.ndarray, tmp_path: Path) -> None:
    here = compress("import-device-results", bundle, saved(results(bundle, embeddings), tmp_path))
    assert here.code == 0, here.stderr
    assert "Google Pixel 8" in here.stdout
    (row,) = (each for each in tflite(read_manifest(bundle)).other_runtimes if each.device is not None)
    assert (row.runtime, row.processor, row.evidence) == ("litert on Google Pixel 8", "arm", "device")
    assert row.device is not None
    assert (row.device.load_ms, row.device.peak_bytes, row.device.delegate_share) == (30.5, 90_000_000, 1.0)
    verified = verify(bundle, "litert")
    assert verified.problems == ()
    (measured,) = (each for each in verified.entries if each.format == "tflite")
    assert row.parity is not None and measured.parity is not None
    assert row.parity.min_cosine == measured.parity.min_cosine
    assert (row.neighbours, row.separation) == (measured.neighbours, measured.separation)
    assert {gate.name for gate in row.gates} == {gate.name for gate in measured.gates}
    assert [each.runtime for each in verified.devices] == ["litert on Google Pixel 8"]
    page = (bundle / "report.html").read_text(encoding="utf-8")
    assert "Google Pixel 8" in page and "Android 16" in page


def test_swapped_colours_on_the_phone_fail_here_and_in_verify(bundle: Path, golden: Golden, tmp_path: Path) -> None:
    """The negative control: a phone that feeds BGR."""
    swapped = run_artifact(bundle / "artifacts/tiny.fp32.tflite", np.ascontiguousarray(golden.images[..., ::-1]))
    done = compress("import-device-results", bundle, saved(results(bundle, swapped), tmp_path))
    assert done.code == 1
    for gate in ("min_cosine", "control_ratio", "golden_neighbours"):
        assert f"artifacts/tiny.fp32.tflite on litert on Google Pixel 8: {gate}" in done.stderr
    lines = verify(bundle, "litert").problems
    assert len(lines) >= 3
    assert all(line.endswith("failed when made") and "Google Pixel 8" in line for line in lines)


def test_a_runtime_that_refuses_the_file_is_recorded_and_fails(bundle: Path, tmp_path: Path) -> None:
    values = results(bundle, np.zeros((1, 1), np.float32), processor="gpu", failure="SIGILL at load")
    for key in ("embeddings", "latency_ms", "pipeline_ms", "load_ms", "peak_bytes", "delegate_share"):
        del values["artifacts"][0][key]
    added = import_device_results(bundle, saved(values, tmp_path))
    (entry,) = added.entries
    assert (entry.runtime, entry.evidence, entry.reason) == (
        "litert on Google Pixel 8, gpu", "not-run", "SIGILL at load",
    )  # fmt: skip
    assert [gate.name for gate in entry.failed] == ["runs"]
    assert inconsistencies(bundle, read_manifest(bundle)) == []


def test_the_same_device_and_runtime_replace_their_row_and_others_stay(
    bundle: Path, embeddings: np.ndarray, tmp_path: Path
) -> None:
    values = results(bundle, embeddings)
    import_device_results(bundle, saved(values, tmp_path))
    values["artifacts"][0]["load_ms"] = 99.5
    values["artifacts"].append({**values["artifacts"][0], "processor": "gpu"})
    added = import_device_results(bundle, saved(values, tmp_path))
    assert [entry.runtime for entry in added.entries] == ["litert on Google Pixel 8", "litert on Google Pixel 8, gpu"]
    rows = [row for row in tflite(read_manifest(bundle)).other_runtimes if row.device is not None]
    assert [(row.runtime, row.device and row.device.load_ms) for row in rows] == [
        ("litert on Google Pixel 8", 99.5), ("litert on Google Pixel 8, gpu", 99.5),
    ]  # fmt: skip
    assert inconsistencies(bundle, read_manifest(bundle)) == []


def test_a_run_that_writes_its_bundle_again_keeps_rows_of_equal_files_alone(
    bundle: Path, embeddings: np.ndarray, tmp_path: Path
) -> None:
    fresh = read_manifest(bundle)
    import_device_results(bundle, saved(results(bundle, embeddings), tmp_path))
    again = write_manifest(bundle, with_earlier_rows(bundle, fresh))
    assert [row.runtime for row in tflite(again).other_runtimes if row.device] == ["litert on Google Pixel 8"]
    assert inconsistencies(bundle, again) == []
    other = tflite(fresh).model_copy(update={"sha256": "0" * 64})
    changed = fresh.model_copy(update={"artifacts": (other,)})
    assert with_earlier_rows(bundle, changed) == changed


def test_a_changed_bundle_is_refused_so_that_no_import_makes_its_checksum_right(
    bundle: Path, embeddings: np.ndarray, tmp_path: Path
) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    manifest["source"]["mAP"] = 0.999
    (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    before = (bundle / "bundle.json").read_bytes()
    with pytest.raises(BadInput, match=r"is not as it was made .*checksum differs"):
        import_device_results(bundle, saved(results(bundle, embeddings), tmp_path))
    assert (bundle / "bundle.json").read_bytes() == before


def test_a_signature_that_no_longer_fits_is_said(bundle: Path, embeddings: np.ndarray, tmp_path: Path) -> None:
    (bundle / "bundle.sig").write_text("{}")
    done = compress("import-device-results", bundle, saved(results(bundle, embeddings), tmp_path))
    assert "bundle.sig: no longer fits; sign the bundle again" in done.stdout


def _artifact(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda values: values["artifacts"][0].update(changes)


def _embeddings(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Any]], object]:
    def edit(values: dict[str, Any]) -> None:
        stored = values["artifacts"][0]["embeddings"]
        found = np.frombuffer(base64.b64decode(stored["base64"]), "<f4").reshape(stored["shape"])
        values["artifacts"][0]["embeddings"] = packed(change(found))

    return edit


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another file": (_artifact(sha256="0" * 64), "artifacts.0.sha256: .* is no artifact of this bundle"),
    "another golden pack": (lambda values: values.update(golden_sha256="0" * 64), "golden_sha256: other golden images"),
    "another width": (_embeddings(lambda found: found[:, :-1]), "artifacts.0: .*shape .* instead of"),
    "fewer images": (_embeddings(lambda found: found[1:]), "measure every image of golden/images.u8"),
    "NaN": (_embeddings(lambda found: np.where(found == found[0, 0], np.nan, found)), "NaN or infinity"),
    "no base64": (_artifact(embeddings={"shape": [64, 64], "base64": "*"}), "base64"),
    "a shape that would not fit": (
        _artifact(embeddings={"shape": [2**40, 2**40], "base64": "AAAA"}),
        "are not float32",
    ),
    "neither ran nor failed": (_artifact(embeddings=None), "give embeddings, or failure"),
    "a share above one": (_artifact(delegate_share=1.5), "artifacts.0.delegate_share"),
    "p95 below the median": (_artifact(pipeline_ms={"median": 2.0, "p95": 1.0}), "p95 is less than the median"),
    "a key that nobody knows": (_artifact(mAP=0.99), "artifacts.0.mAP: Extra inputs are not permitted"),
    "a terminal sequence": (lambda values: values["device"].update(model="\x1b[2J"), "device.model"),
    "no day": (lambda values: values["measured"].update(at="2026-13-41"), "measured.at"),
    "a newer schema": (lambda values: values.update(schema=2), "schema 2, this Compress reads 1"),
    "listed twice": (lambda values: values["artifacts"].append(values["artifacts"][0]), "is listed twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_belong_is_refused_and_changes_nothing(
    name: str, bundle: Path, embeddings: np.ndarray, tmp_path: Path
) -> None:
    change, words = REFUSED[name]
    values = results(bundle, embeddings)
    change(values)
    before = (bundle / "bundle.json").read_bytes()
    with pytest.raises(BadInput, match=words) as refused:
        import_device_results(bundle, saved(values, tmp_path))
    assert "\n" not in str(refused.value)
    assert (bundle / "bundle.json").read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": NaN}', '{"schema": 1, "schema": 1}', "[" * 100_000])
def test_what_is_no_file_of_results_is_refused(text: str, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no device results"):
        import_device_results(bundle, saved(text, tmp_path))


def test_whoever_makes_the_checksum_again_cannot_make_a_failed_row_pass(
    bundle: Path, embeddings: np.ndarray, tmp_path: Path
) -> None:
    import_device_results(bundle, saved(results(bundle, -embeddings), tmp_path))
    values = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    (row,) = (row for each in values["artifacts"] for row in each["other_runtimes"] if "device" in row)
    for gate in row["gates"]:
        gate["passed"] = True
    values["checksum"] = checksum(values)
    (bundle / "bundle.json").write_text(json.dumps(values), encoding="utf-8")
    assert any("contradicts what was measured" in line for line in inconsistencies(bundle, read_manifest(bundle)))
