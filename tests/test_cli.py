"""The command line's face: help, lists, the schema, and one clear line with exit code 2 for every kind of bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from compress import plugins
from compress.contracts import Architecture, Dataset, Exporter
from tests._command import REPOSITORY, compress, compress_here
from tests.conftest import Finished

HEAVY = ("torch", "torchvision", "numpy", "PIL", "scipy", "onnx", "onnxruntime", "ai_edge_litert", "coremltools")


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    ended = compress("--help", without=HEAVY)
    assert ended.code == 0, ended.stderr
    for command in ("run", "verify", "bench", "list", "doctor", "schema"):
        assert f"  {command} " in ended.stdout


KINDS = {plugins.kind(base): base for base in plugins.FOLDERS}


@pytest.mark.parametrize("kind", [*KINDS, "metrics"])
def test_each_list_explains_every_name(kind: str) -> None:
    ended = compress("list", kind)
    assert ended.code == 0, ended.stderr
    entries = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
    assert entries.keys() == (set(plugins.names(KINDS[kind])) if kind in KINDS else entries.keys())
    assert all(len(explanation) > 10 for explanation in entries.values())


def test_doctor_tells_versions_and_what_cannot_run() -> None:
    ended = compress("doctor", without=("ai_edge_litert", "ai-edge-litert"))
    assert ended.code == 0, ended.stderr
    lines = {line.split()[0]: line for line in ended.stdout.splitlines() if line}
    assert lines["onnxruntime"].endswith("ready")
    assert "not installed" in lines["ai-edge-litert"]
    assert "pip install" in lines["litert"]


def test_the_schema_is_json_and_knows_every_component() -> None:
    ended = compress("schema")
    assert ended.code == 0, ended.stderr
    text = json.dumps(json.loads(ended.stdout))
    for base in (Architecture, Dataset, Exporter):
        for name in plugins.names(base):
            assert f'"{name}"' in text


def test_what_is_not_installed_is_no_bad_input(tmp_path: Path) -> None:
    ended = compress("run", "recipes/quickstart.yaml", "--dry-run", without=("torch",))
    assert ended.code == 3
    assert "'torch'" in ended.complaint and "pip install" in ended.complaint
    ended = compress("run", "recipes/quickstart.yaml", "--set", "seed=-1", "--dry-run", without=("torch",))
    assert ended.code == 2
    assert "seed: -1" in ended.complaint


def test_a_dry_run_tells_the_plan_and_does_nothing(finished: Finished, tmp_path: Path) -> None:
    ended = compress_here("run", finished.recipe, "--out", tmp_path / "out", "--dry-run")
    assert ended.code == 0, ended.stderr
    for word in ("data", "train", "export", "validate"):
        assert word in ended.stdout
    assert not (tmp_path / "out").exists()


BAD = [
    ("train.epoch=5", ["tiny.yaml", "train", "epoch", "epochs"]),
    ("train.epochs=many", ["tiny.yaml", "train.epochs", "many"]),
    ("train.epochs=0", ["tiny.yaml", "train.epochs", "0"]),
    ("train.lr=-1", ["tiny.yaml", "train.lr", "-1"]),
    ("data.dataset=imagefolder", ["imagefolder", "image_folder"]),
    ("data.root=/nowhere/at/all", ["data.root", "/nowhere/at/all"]),
    ("model.architecture=alnett", ["alnett", "alnet"]),
    ("model.groups=5", ["groups", "5"]),
    ("model.checkpoint=/nowhere/weights.safetensors", ["model.checkpoint", "/nowhere/weights.safetensors"]),
    ("export=[tflight: {}]", ["tflight", "tflite"]),
    ("export=[tflite: {precision: int3}]", ["precision", "int3", "fp32"]),
    ("validate.gates.min_cosinus=0.9", ["min_cosinus", "min_cosine"]),
]


@pytest.mark.parametrize(("change", "words"), BAD, ids=[change for change, _ in BAD])
def test_a_mistake_is_one_line_and_leaves_nothing(
    finished: Finished, tmp_path: Path, change: str, words: list[str]
) -> None:
    out = tmp_path / "out"
    ended = compress_here("run", finished.recipe, "--out", out, "--set", change)
    assert ended.code == 2
    for word in words:
        assert word in ended.complaint
    assert not out.exists()


@pytest.mark.parametrize("change", ["data.root=/nowhere/at/all", "model.groups=5", "model.checkpoint=/nowhere/w.st"])
def test_a_dry_run_finds_what_reading_the_recipe_cannot(finished: Finished, change: str) -> None:
    ended = compress_here("run", finished.recipe, "--set", change, "--dry-run")
    assert ended.code == 2
    assert change.rpartition("=")[2] in ended.complaint


def test_an_empty_class_and_images_of_the_wrong_kind_are_named(
    finished: Finished, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    photos = tmp_path / "photos"
    for label in range(3):
        save_photos(photos / f"class {label}", label, 12)
    (photos / "class 3").mkdir()
    command = ("run", finished.recipe, "--out", tmp_path / "out", "--set", f"data.root={photos}")
    empty = compress_here(*command, "--dry-run")
    assert (empty.code, "left out, an empty class folder: class 3/" in empty.stdout) == (0, True), empty
    for number in range(6):
        (photos / "class 3" / f"{number}.jpg").write_text(f"not an image {number}")
    wrong = compress_here(*command)
    assert (wrong.code, "class 3/0.jpg" in wrong.complaint) == (2, True)
    lost = compress_here(*command, "--set", "data.max_skipped_share=0.5")
    assert (lost.code, "no training image of class class 3 can be decoded" in lost.complaint) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_recipe_is_refused_and_untouched(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(finished.folder, folder)
    before = (folder / "bundle.json").read_bytes()
    ended = compress_here("run", REPOSITORY / "recipes/quickstart.yaml", "--out", folder)
    assert ended.code == 2
    for word in (str(folder), "tiny", "--out"):
        assert word in ended.complaint
    assert (folder / "bundle.json").read_bytes() == before


def test_an_unknown_stage_and_a_missing_recipe_are_named(finished: Finished, tmp_path: Path) -> None:
    stage = compress_here("run", finished.recipe, "--out", tmp_path / "out", "--until", "tarin")
    assert stage.code == 2
    assert all(word in stage.complaint for word in ("--until", "tarin", "train"))
    missing = compress_here("run", tmp_path / "recipe.yaml")
    assert missing.code == 2
    assert str(tmp_path / "recipe.yaml") in missing.complaint


def test_a_missing_converter_is_exit_code_3_before_any_training(finished: Finished, tmp_path: Path) -> None:
    ended = compress("run", finished.recipe, "--out", tmp_path / "out", without=("litert_torch", "litert-torch"))
    assert ended.code == 3
    assert all(word in ended.complaint for word in ("litert-torch", "pip install"))
    assert not (tmp_path / "out").exists()


def test_a_failed_gate_is_exit_code_1_and_names_itself(finished: Finished, tmp_path: Path) -> None:
    """A bound that no network reaches, on the finished run: nothing is trained or exported again."""
    folder = tmp_path / "bundle"
    shutil.copytree(finished.folder, folder)
    limits = ("validate.gates.bytes=1000", "validate.gates.params=10")
    ended = compress_here(
        "run", finished.recipe, "--out", folder, *[part for limit in limits for part in ("--set", limit)]
    )
    assert ended.code == 1
    assert "epoch" not in ended.stderr
    failed = [line for line in ended.stderr.splitlines() if line.startswith("FAILED")]
    assert [line for line in failed if "tiny.fp32.onnx" in line and "bytes" in line and "limit 1000" in line]
    assert [line for line in failed if "params" in line and "limit 10" in line]
