"""Whole runs: what a bundle holds, and that neither a kill nor another process changes its bytes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.contracts import BadInput, Preprocess, host_processor
from compress.data.images import read_image
from compress.gallery.store import GALLERY, read_gallery
from compress.pipeline import run
from compress.recipe.reader import load_recipe
from compress.system.files import artifact_sha256
from tests._command import REPOSITORY, compress_here, start
from tests.conftest import Finished
from validators import run_artifact

FORMATS = {".pt", ".ptl", ".onnx", ".tflite", ".mlpackage"}


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    return content


def timeless(value: Any) -> Any:
    """A manifest without the one thing that depends on the clock, and the checksum over it."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in ("latency_ms", "checksum")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def hashes(folder: Path) -> dict[str, str]:
    """Every file an app team receives but the manifest and the report, which hold latencies."""
    files = [file for file in folder.rglob("*") if file.is_file() and ".compress" not in file.parts]
    names = {file.relative_to(folder).as_posix(): artifact_sha256(file) for file in files}
    del names["bundle.json"], names["report.html"]
    return names


def assert_equal_bundles(one: Path, other: Path) -> None:
    assert hashes(one) == hashes(other)
    assert timeless(manifest(one)) == timeless(manifest(other))
    assert not [path.name for path in one.rglob("*") if path.suffix == ".unfinished"]
    assert not list((one / ".compress/scratch").iterdir())


def run_until_killed(line: str, *arguments: str | Path) -> str:
    """SIGKILL a run and all its children as soon as it has said ``line``; what it said until then."""
    said = ""
    with start(*arguments) as process:
        assert process.stderr is not None
        for text in process.stderr:
            said += text
            if line in text:
                os.killpg(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL, f"'{line}' was never said:\n{said}"
    return said


# ------------------------------------------------------------------------------------------------ what comes out


def test_the_run_passes_every_gate_and_prints_one_row_per_artifact(finished: Finished) -> None:
    assert finished.printed.code == 0, finished.printed.stderr
    for suffix in FORMATS:
        # The table, then the matrix of processors.
        row, cells = [line for line in finished.printed.stdout.splitlines() if line.startswith(f" {suffix} ")]
        assert ("reference" if evidence(suffix) == "reference" else host_processor()) in row.lower()
        assert cells.split().count("passed") == 1
    assert f"bundle: {finished.folder}" in finished.printed.stdout
    assert all(len(line) <= 80 for line in finished.printed.stdout.splitlines() if line.startswith(" "))


def test_the_manifest_describes_what_lies_in_the_folder(finished: Finished) -> None:
    bundle = manifest(finished.folder)
    assert bundle["schema"] == 1
    assert bundle["data"]["classes"] == 10
    assert bundle["data"]["splits"] == {"train": 220, "validation": 20, "test": 60}
    assert bundle["recipe_sha256"] == artifact_sha256(finished.folder / "recipe.yaml")
    assert {Path(artifact["path"]).suffix for artifact in bundle["artifacts"]} == FORMATS
    for artifact in bundle["artifacts"]:
        assert artifact["sha256"] == artifact_sha256(finished.folder / artifact["path"])
        assert artifact["evidence"] == evidence(Path(artifact["path"]).suffix)
        assert (artifact["latency_ms"] is None) is (artifact["evidence"] == "reference")
        assert artifact["reason"] is None
        assert artifact["notes"] == []
        assert {gate["name"] for gate in artifact["gates"]} == gate_names(artifact)
    everything = {*bundle["files"], "bundle.json"}
    outside = {name for name in hashes(finished.folder) if not name.startswith("artifacts/")} | {"bundle.json"}
    assert everything == outside


def evidence(suffix: str) -> str:
    """Apple's runtime exists on macOS alone; elsewhere the package is executed op by op."""
    return "reference" if suffix == ".mlpackage" and os.uname().sysname != "Darwin" else "native"


def gate_names(artifact: dict[str, Any]) -> set[str]:
    names = {"control_ratio", "min_cosine", "mAP_drop", "golden_neighbours"}
    names |= {"min_centered_cosine", "max_rel_error"} if artifact["precision"] == "fp32" else set()
    return names | ({"mobile_problems"} if artifact["path"].endswith((".pt", ".ptl")) else set())


def test_every_artifact_shows_the_image_it_is_worst_at(finished: Finished) -> None:
    shown = set()
    for artifact in manifest(finished.folder)["artifacts"]:
        parity = artifact["parity"]
        file = f"worst/{Path(artifact['path']).name}.{artifact['runtime']}.png"
        assert parity["worst_image_file"] == file
        shown.add(Path(file).name)
        if not parity["worst_image"].startswith("probe "):
            photo = finished.recipe.parent / "photos" / parity["worst_image"]
            expected = read_image(photo, Preprocess((32, 32)))
            np.testing.assert_array_equal(np.asarray(Image.open(finished.folder / file)), expected)
    assert {path.name for path in (finished.folder / "worst").iterdir()} == shown


def test_the_golden_pack_names_its_licence_and_the_neighbours_every_artifact_found(finished: Finished) -> None:
    golden = json.loads((finished.folder / "golden/golden.json").read_text(encoding="utf-8"))
    assert golden["license"] == "CC0-1.0"
    assert golden["gallery"]["leave_one_out"] is True
    assert {len(image["neighbours"]) for image in golden["images"]} == {10}
    for artifact in manifest(finished.folder)["artifacts"]:
        assert artifact["neighbours"]["golden_neighbours"] >= 0.95


def test_every_artifact_says_what_a_match_is_and_what_other_ways_to_its_pixels_cost(finished: Finished) -> None:
    """The rows of a whole run; one way of one artifact is prepared, embedded and ranked here once more."""
    gallery = read_gallery(finished.folder / GALLERY)
    rows = np.linspace(0, 59, 20).astype(int)
    files = [finished.recipe.parent / "photos" / gallery.names[row] for row in rows]
    for artifact in manifest(finished.folder)["artifacts"]:
        at = {each["false_accept_rate"]: each for each in artifact["thresholds"]["at"]}
        assert list(at) == [0.01, 0.001, 0.0001]
        assert at[0.01]["rate_low"] < 0.01 and at[0.01]["rate_high"] > at[0.01]["rate_low"]
        if artifact["evidence"] == "reference":  # which would take long
            assert "photos" not in artifact
            continue
        names = [way["way"] for way in artifact["photos"]["ways"]]
        assert names == ["resize nearest", "decoder scaled", "decoder replicated", "JPEG 30"]
        assert artifact["photos"]["queries"] == 20
    (onnx,) = [each for each in manifest(finished.folder)["artifacts"] if each["path"].endswith(".onnx")]
    way = onnx["photos"]["ways"][0]
    right = np.stack([read_image(file, Preprocess((32, 32))) for file in files])
    nearest = np.stack([Image.open(file).convert("RGB").resize((32, 32), Image.Resampling.NEAREST) for file in files])
    apart = np.abs(nearest.astype(int) - right)
    assert (way["bytes_changed"], way["mean_levels"]) == pytest.approx(((apart > 0).mean(), apart.mean()))
    every = [finished.recipe.parent / "photos" / name for name in gallery.names]
    known = run_artifact(
        finished.folder / onnx["path"], np.stack([read_image(file, Preprocess((32, 32))) for file in every])
    )
    asked = run_artifact(finished.folder / onnx["path"], nearest)
    scores = []
    for query, row in zip(asked, rows, strict=True):
        others = np.delete(np.arange(60), row)
        order = others[np.argsort(np.linalg.norm(known[others] - query, axis=1))]
        right_ones = np.flatnonzero(np.array(gallery.labels)[order] == gallery.labels[row])
        scores.append(np.mean((np.arange(len(right_ones)) + 1) / (right_ones + 1)))
    assert way["mAP"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert way["mAP_drop"] == pytest.approx(onnx["photos"]["mAP"] - way["mAP"], abs=1e-6)


def test_metrics_hold_one_line_per_epoch_and_artifact_and_no_clock(finished: Finished) -> None:
    lines = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["stage"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [line["path"] for line in lines if line["stage"] == "validate"] == [
        artifact["path"] for artifact in manifest(finished.folder)["artifacts"]
    ]
    assert not any("latency" in key or "seconds" in key for line in lines for key in line)


# ----------------------------------------------------------------------------------------- same recipe, same bytes


@pytest.mark.every_change("two formats")
@pytest.mark.parametrize(
    "overrides", [["export=[torchscript, torchscript_lite]"], []], ids=["two formats", "all formats"]
)
def test_killed_in_training_and_again_in_export_the_bundle_is_the_same(
    overrides: list[str], finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes, in another folder and each with its own hash seed, give the bytes of one that was not killed."""
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    folder = tmp_path / "killed"
    command = ("run", finished.recipe, "--out", folder, *itertools.chain(*(("--set", each) for each in overrides)))
    # The state of an epoch is on disk before the next epoch ends.
    run_until_killed("epoch 3/6", *command)
    assert not (folder / "bundle.json").exists()
    refused = compress_here("verify", folder)
    assert (refused.code, "bundle.json" in refused.complaint) == (2, True)

    second = "tiny.fp32.ptl\n" if overrides else "tiny.fp32.onnx"
    said = run_until_killed(f"export: {second}", *command)
    assert "resuming after epoch" in said
    assert "epoch 1/6" not in said
    assert not (folder / "bundle.json").exists()

    last = compress_here(*command)
    assert last.code == 0, last.stderr
    assert "epoch" not in last.stderr
    assert "export: tiny.fp32.pt\n" not in last.stderr
    assert f"export: {second}" in last.stderr
    if not overrides:
        assert_equal_bundles(folder, finished.folder)
        return
    whole, part = hashes(finished.folder), hashes(folder)
    assert len(part) > 60  # weights, files, gallery, golden and worst images
    for name in ("recipe.yaml", "metrics.jsonl", "rankings.json"):  # which name the formats
        del part[name]
    assert part.items() <= whole.items()


def test_a_finished_run_is_reused_and_a_damaged_file_is_made_again(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    with (folder / "artifacts/tiny.fp32.pt").open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    (folder / "artifacts/.tiny.fp32.onnx.unfinished").mkdir()
    (folder / "artifacts/.tiny.fp32.onnx.unfinished/tiny.fp32.onnx").write_bytes(b"a kill left this")
    (folder / "golden/images/999.png").write_bytes(b"of an earlier recipe with more golden images")
    (folder / "worst/tiny.w8.tflite.litert.png").write_bytes(b"of an artifact that the recipe no longer has")
    (folder / "gallery/.gallery.sqlite.unfinished").mkdir()
    again = compress_here("run", finished.recipe, "--out", folder)
    assert again.code == 0, again.stderr
    assert [line for line in again.stderr.splitlines() if line.startswith(("train", "export"))] == [
        "export: tiny.fp32.pt"
    ]
    assert "validate: PyTorch model" not in again.stderr
    assert_equal_bundles(folder, finished.folder)


# ------------------------------------------------------------------------------------------------------- --until


@pytest.mark.nightly
def test_until_stops_and_the_plain_command_goes_on(
    finished: Finished, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(finished.recipe, ["export=[onnx: {}]"])

    def said(until: str | None) -> str:
        bundle = run(recipe, tmp_path / "out", until=until)
        assert (bundle is None) is (until is not None)
        assert (tmp_path / "out/bundle.json").exists() is (until is None)
        return capfd.readouterr().err

    assert said("data").startswith("data: image_folder")
    assert "epoch 6/6" in said("train")
    assert "epoch" not in said("train")
    exporting = said("export")
    assert "epoch" not in exporting and "export: tiny.fp32.onnx" in exporting
    validating = said(None)
    assert "epoch" not in validating and "export" not in validating and "validate:" in validating


# --------------------------------------------------------------------------------------------- without a training


@pytest.mark.nightly
def test_a_checkpoint_can_be_exported_again_without_training(finished: Finished, tmp_path: Path) -> None:
    weights = finished.folder / "checkpoints/train.safetensors"
    changes = [f"model.checkpoint={weights}", "train=null", "export=[onnx: {}]"]
    bundle = run(load_recipe(finished.recipe, changes), tmp_path / "out")
    assert bundle is not None
    first = manifest(finished.folder)
    assert bundle.embedding.space_id == first["embedding"]["space_id"]
    assert bundle.source.to_json() == first["source"]
    (onnx,) = bundle.artifacts
    assert onnx.sha256 == next(a["sha256"] for a in first["artifacts"] if a["format"] == "onnx")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.head_width=32", ["classifier", "[10, 64]", "[10, 32]", "model.architecture"]),
        ("model.cbam=false", ["nothing", "model.architecture"]),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    finished: Finished, tmp_path: Path, change: str, words: list[str]
) -> None:
    weights = finished.folder / "checkpoints/train.safetensors"
    recipe = load_recipe(finished.recipe, [f"model.checkpoint={weights}", "train=null", change])
    with pytest.raises(BadInput) as caught:
        run(recipe, tmp_path / "out")
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(weights), *words]:
        assert word in message
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------------------------------------------- SUN397


@pytest.fixture
def sun397(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    """The real archive's shape: letters, nested class names, copies across classes, one truncated JPEG."""
    root = tmp_path / "SUN397"
    names = ("abbey", "apartment_building/outdoor", "balcony/exterior", "balcony/interior")
    for label, name in enumerate(names):
        save_photos(root / name[0] / name, label, 20, name="sun_{:06d}.jpg")
    shutil.copy(root / "a/abbey/sun_000000.jpg", root / "a/abbey/sun_999999.jpg")
    shutil.copy(root / "a/abbey/sun_000001.jpg", root / "b/balcony/interior/sun_999999.jpg")
    cut = root / "a/apartment_building/outdoor/sun_000007.jpg"
    cut.write_bytes(cut.read_bytes()[:400])
    (root / "ClassName.txt").write_text("/a/abbey\n/a/apartment_building/outdoor\n")
    return tmp_path


SMALL = (
    "train.epochs=2",
    "train.batch_size=16",
    "data.image_size=32",
    "model.widths=[16,24]",
    "model.strides=[2,2]",
    "model.expansions=[1,3]",
    "model.head_width=64",
    "export=[onnx: {}]",
)


@pytest.mark.nightly
def test_sun397_runs_from_its_published_layout(sun397: Path, tmp_path: Path) -> None:
    changes = [part for change in (f"data.root={sun397}", *SMALL) for part in ("--set", change)]
    done = compress_here("run", REPOSITORY / "recipes/alnet_sun397.yaml", "--out", tmp_path / "out", *changes)
    assert done.code == 0, done.stderr
    data = manifest(tmp_path / "out")["data"]
    assert (data["classes"], data["duplicates"], data["images"]) == (4, 2, 79)
    assert data["splits"]["train"] + data["splits"]["test"] == 79
    ((skipped, reason),) = data["skipped"].items()
    assert skipped == "a/apartment_building/outdoor/sun_000007.jpg"
    assert reason
    golden = json.loads((tmp_path / "out/golden/golden.json").read_text())
    assert {entry["label"] for entry in golden["images"]} <= {
        "abbey",
        "apartment_building/outdoor",
        "balcony/exterior",
        "balcony/interior",
    }


def test_sun397_without_data_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    recipe = REPOSITORY / "recipes/alnet_sun397.yaml"
    ended = compress_here("run", recipe, "--out", tmp_path / "out", "--set", f"data.root={tmp_path / 'nowhere'}")
    assert ended.code == 2
    for word in ("data.root", str(tmp_path / "nowhere/SUN397"), "SUN397.tar.gz", "data.download=true"):
        assert word in ended.complaint
    assert not (tmp_path / "out").exists()
