"""Every recipe in the repository reads; every kind of mistake is named with its key, value and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from compress import plugins
from compress.contracts import BadInput, Dataset
from compress.recipe.reader import load_recipe, parse_recipe
from compress.recipe.schema import json_schema
from tests._command import REPOSITORY

RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))
assert len(RECIPES) > 30
GOOD = """
name: tiny
data: {dataset: digits}
model: {architecture: alnet, stem_stride: 2}
train: {epochs: 2, lr: 1e-2}
export:
  - torchscript: {}
  - onnx:
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problem(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        load_recipe(write(folder, text), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_gate_may_be_named_with_its_section() -> None:
    changes = {"validate": {"gates": {"parity.min_cosine": 0.9, "retrieval.mAP": 0.1, "bytes": 1e6}}}
    gates = parse_recipe({**YAML(typ="safe").load(GOOD), **changes}, "good").validation.gates
    assert gates == {"min_cosine": 0.9, "mAP": 0.1, "bytes": 1e6}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_reads_and_opens_with_what_it_takes(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert {exporter.format for exporter in recipe.exports} >= {"torchscript", "onnx", "tflite", "coreml"}
    head = path.read_text(encoding="utf-8").split("name:")[0]
    for word in ("hardware:", "time:", "expected:", f"compress run recipes/{path.name}"):
        assert word in head, f"{path.name} does not say '{word}'"


def test_all_recipes_were_seen() -> None:
    assert len(RECIPES) >= 13


def test_defaults_are_filled_in_and_the_resolved_recipe_reads_as_the_same_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.resolved["train"]["momentum"] == 0.9
    assert recipe.resolved["train"]["lr"] == 0.01  # YAML 1.1 readers take 1e-2 for text
    again = load_recipe(write(tmp_path, recipe.to_yaml()))
    assert again == recipe
    assert again.sha256 == recipe.sha256


def test_overrides_reach_sections_lists_and_the_top(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    recipe = load_recipe(
        path, ["train.epochs=7", "seed=3", "model.widths=[8, 16, 16, 32, 32, 64, 64]", "export.1.onnx={}"]
    )
    assert recipe.seed == 3
    assert recipe.resolved["train"]["epochs"] == 7
    assert recipe.resolved["model"]["widths"] == [8, 16, 16, 32, 32, 64, 64]
    assert load_recipe(path).sha256 != recipe.sha256


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", ["train.epoch", "unknown key", "did you mean 'epochs'"]),
        ("trian.epochs=3", ["trian", "did you mean 'train'"]),
        ("train.epochs=0", ["train.epochs", "0", "greater than or equal to 1"]),
        ("train.epochs='3'", ["train.epochs", "'3'", "integer"]),
        ("train.horizontal_flip=1", ["train.horizontal_flip", "boolean"]),
        ("train.schedule=steps", ["train.schedule", "'steps'", "cosine"]),
        ("train.loss=cross_entropi", ["train.loss", "cross_entropy", "did you mean"]),
        ("data.dataset=cifar", ["data", "cifar10", "did you mean"]),
        ("model.architecture=alnett", ["model", "did you mean 'alnet'"]),
        ("model.groups=5", ["model", "groups", "5", "32 channels"]),
        ("model.distance=euclid", ["model.distance", "l2, cosine"]),
        ("export.0={tflight: {}}", ["export.0", "tflight", "did you mean 'tflite'"]),
        ("export.0={tflite: {precision: int8}}", ["export.0", "precision", "'int8'", "fp32"]),
        ("export.0={onnx: {}}", ["export.1", "twice"]),
        ("validate.gates={min_cosin: 1}", ["validate.gates", "did you mean 'min_cosine'"]),
        ("validate.gates={min_cosine: high}", ["validate.gates", "numbers"]),
        ("validate.retrieval={metrics: [mAPP]}", ["validate.retrieval", "mAPP"]),
        ("name=a/b", ["name", "'a/b'"]),
        ("seed=-1", ["seed", "-1"]),
        ("seed=true", ["seed", "True"]),
    ],
)
def test_one_mistake_is_named(tmp_path: Path, override: str, words: list[str]) -> None:
    message = problem(tmp_path, GOOD, override)
    for word in ("recipe.yaml", *words):
        assert word in message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    message = problem(tmp_path, GOOD, "train.epochs=-1", "data.image_siz=3", "seed=x")
    assert all(key in message for key in ("train.epochs", "data.image_siz", "seed"))


@pytest.mark.parametrize(
    ("override", "word"),
    [("train.epochs", "key.key=value"), ("export.9.onnx={}", "list of 2"), ("name.x=1", "'tiny'"), ("seed=[", "YAML")],
)
def test_an_override_that_cannot_be_applied_is_named(tmp_path: Path, override: str, word: str) -> None:
    message = problem(tmp_path, GOOD, override)
    assert override in message
    assert word in message


def test_a_recipe_needs_training_or_weights(tmp_path: Path) -> None:
    assert "model.checkpoint" in problem(tmp_path, GOOD, "train=null")


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such recipe"):
        load_recipe(tmp_path / "nothing.yaml")
    assert "YAML" in problem(tmp_path, "name: [")
    assert "mapping" in problem(tmp_path, "- a\n- b\n")
    assert "seed" in problem(tmp_path, GOOD + "seed: 1\nseed: 2\n")  # a key that stands twice


def test_the_schema_describes_what_the_reader_accepts() -> None:
    """Every recipe passes the schema's own keys; a wrong key, which the reader rejects, does not."""
    schema = json_schema()
    json.dumps(schema)
    *known, own = schema["properties"]["data"]["oneOf"]
    assert own["properties"]["dataset"] == {"type": "string", "pattern": ":"}
    datasets = {branch["properties"]["dataset"]["const"]: branch for branch in known}
    assert sorted(datasets) == plugins.names(Dataset)
    for path in RECIPES:
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        assert set(document) <= set(schema["properties"])
        branch = datasets[document["data"]["dataset"]]
        assert branch["additionalProperties"] is False
        assert set(document["data"]) <= set(branch["properties"])
        train = schema["properties"]["train"]["oneOf"][1]["properties"]
        given = document.get("train") or {}
        assert set(given) <= set(train)
        with pytest.raises(BadInput, match="nonsense"):
            parse_recipe({**document, "train": {**given, "nonsense": 1}}, "recipe")
        assert "nonsense" not in train
