"""Recipes and ``--set`` of strangers: one line, exit 2, whatever YAML can say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress.contracts import BadInput
from compress.recipe.overrides import parse_yaml
from compress.recipe.reader import load_recipe
from tests._command import REPOSITORY, compress_here

QUICKSTART = REPOSITORY / "recipes/quickstart.yaml"

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + number)}: &{chr(98 + number)} [{', '.join(['*' + chr(97 + number)] * 9)}]\n" for number in range(20)
)
HOSTILE = {
    "10**5000": "seed: 1" + "0" * 5000,
    "2**64": "seed: 18446744073709551616",
    "nested lists": "name: " + "[" * 2_000,
    "nested mappings": "name: " + "{a: " * 2_000,
    "nested and closed": "name: " + "[" * 100 + "]" * 100,
    "billion laughs": LAUGHS,
    "a list in itself": "name: &a [*a]",
    "a mapping in itself": "&a {name: *a}",
    "long": "name: a\n" + "# comment\n" * 10_000,
    "no such day": "name: 2026-13-45",
    "a day": "name: 2026-01-01",
    "a set": "name: !!set {a, b}",
    "binary": "name: !!binary x",
    "Python": "name: !!python/object/apply:os.system [true]",
    "half a character": 'name: "\\ud800"',
    "NaN": "train: {lr: .nan}",
    "infinity": "train: {lr: .inf}",
    "a number as key": "1: 2",
    "nothing as key": "? \n: 2",
    "a list as key": "? [a]\n: 2",
    "a key twice": "name: a\nname: b",
    "two documents": "---\n---\n",
    "NUL": "name: \0",
    "text": "name",
    "empty": "",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_recipe(tmp_path: Path, what: str) -> None:
    recipe = tmp_path / "x.yaml"
    recipe.write_text(HOSTILE[what])
    ended = compress_here("run", recipe, "--dry-run")
    assert ended.code == 2
    assert ended.complaint.startswith(str(recipe))
    assert len(ended.complaint) < 4200


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=1" + "0" * 5000,
        "train.epochs=" + "[" * 2_000,
        "train.epochs=&a [*a]",
        "train.epochs=2026-13-45",
        "train.lr=.nan",
        "train.lr=!!python/name:os.system",
        'license="\\ud800"',
        "license=\udcff",
        "\udcff=1",
        "export.²=1",
        "export." + "9" * 5000 + "=1",
        "model.widths=[1000000000]",
        "." * 10_000 + "=1",
        "a" * 10_000,
        "data.image_size=1e400",
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_a_hostile_override(override: str) -> None:
    ended = compress_here("run", QUICKSTART, "--dry-run", "--set", override)
    assert ended.code == 2, ended.stderr
    assert ended.complaint


@pytest.mark.parametrize("widths", ["[1000000000]", "[1000000, 1000000]", "[8000, 80000]"])
def test_a_huge_network_is_refused_before_it_is_allocated(widths: str) -> None:
    count = widths.count(",") + 1
    values = {"widths": widths, "strides": str([1] * count), "expansions": str([6] * count)}
    settings = [f"--set=model.{key}={value}" for key, value in values.items()]
    ended = compress_here("run", QUICKSTART, "--dry-run", *settings)
    assert ended.code == 2, ended.stderr
    assert "model.alnet: more than 500,000,000 parameters" in ended.complaint


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
def test_what_is_no_recipe_file_blocks_nothing(tmp_path: Path, kind: str) -> None:
    recipe = tmp_path / "x.yaml"
    os.mkfifo(recipe) if kind == "FIFO" else recipe.mkdir()
    with pytest.raises(BadInput, match="no such recipe file"):
        load_recipe(Path("/dev/zero") if kind == "device" else recipe)


def test_anchors_that_stay_small_are_taken() -> None:
    assert parse_yaml("a: &x {lr: 1}\nb: *x\nc: {<<: *x}") == {"a": {"lr": 1}, "b": {"lr": 1}, "c": {"lr": 1}}
