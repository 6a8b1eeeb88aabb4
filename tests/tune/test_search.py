"""``compress tune`` from a recipe to a chosen recipe that makes the same file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress import pipeline
from compress.contracts import BadInput
from compress.recipe.reader import load_recipe
from compress.system import history
from compress.system.files import artifact_sha256
from compress.tune import search
from compress.tune.budget import Budget
from tests._command import compress_here
from tests.tune.test_parts import RECIPE

Save = Callable[..., list[Path]]
TUNE = "{data.image_size: [24, 32], train.lr: [0.02, 0.05, 0.1], model.head_width: [32, 64]}"


@pytest.fixture
def recipe(tmp_path: Path, save_photos: Save) -> Path:
    for label in range(4):
        save_photos(tmp_path / "photos" / "train" / f"digit {label}", label, 20)
        save_photos(tmp_path / "photos" / "test" / f"digit {label}", label, 4, first=50)
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "photos", tune=TUNE), encoding="utf-8")
    return path


def results(found: search.Found) -> list[tuple[object, ...]]:
    """What does not depend on how busy the machine is."""
    return [(o.number, o.values, o.state, o.mean_ap, o.bytes, o.sha256) for o in found.outcomes]


@pytest.mark.nightly
def test_one_trial_gives_a_recipe_a_table_and_a_page(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("  - onnx\n", ""), encoding="utf-8")
    out = tmp_path / "search"
    ended = compress_here("tune", recipe, "--budget", "bytes<1e6", "--trials", "1", "--out", out)
    assert ended.code == 0, ended.stderr
    (row,) = [line for line in ended.stdout.splitlines() if "the recipe as it is" in line]
    assert row.split()[:2] == ["0", "chosen"]
    assert f"chosen: {out / 'chosen.yaml'}" in ended.stdout
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Chosen: trial 0" in page and "<svg" in page and "http://" not in page
    chosen = load_recipe(out / "chosen.yaml").resolved
    own = load_recipe(recipe).resolved
    assert chosen == own
    # Again with another budget: the folder is that of another search.
    ended = compress_here("tune", recipe, "--budget", "bytes<100", "--trials", "1", "--out", out)
    assert ended.code == 2 and "another budget" in ended.complaint


@pytest.mark.nightly
def test_the_chosen_recipe_makes_the_file_that_was_measured(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "search"
    ended = compress_here("tune", recipe, "--budget", "ms<50,bytes<200000", "--trials", "2", "--out", out)
    assert ended.code == 0, ended.stderr
    page = (out / "report.html").read_text(encoding="utf-8")

    # Again: nothing is trained, the same answer.
    stamps = {path: path.stat().st_mtime_ns for path in (out / "trials").rglob("*.safetensors")}
    again = compress_here("tune", recipe, "--budget", "ms<50,bytes<200000", "--trials", "2", "--out", out)
    assert again.stdout == ended.stdout
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "trials").rglob("*.safetensors")}

    chosen = load_recipe(out / "chosen.yaml")
    assert [exporter.component_name() for exporter in chosen.exports] == ["onnx", "torchscript"]
    pipeline.run(chosen, tmp_path / "bundle", until="export")
    (made,) = (tmp_path / "bundle" / "artifacts").glob("*.onnx")
    measured = {artifact_sha256(path) for path in (out / "trials").rglob("*.onnx") if path.parent.name == "artifacts"}
    assert artifact_sha256(made) in measured
    assert artifact_sha256(made)[:12] in page

    ended = compress_here("tune", recipe, "--budget", "bytes<100", "--trials", "2", "--out", tmp_path / "tiny")
    assert ended.code == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("compress: ")]
    assert "none of 2 trials met it; the nearest was trial" in line


@pytest.mark.nightly
def test_a_killed_search_gives_the_same_front_and_test_photographs_choose_nothing(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(ms=50.0, bytes=1e6)
    whole = search.tune(recipe, [], budget, trials=6, time_s=None, out=tmp_path / "whole")
    assert len(whole.outcomes) == 6 and whole.finished

    # Killed after two epochs of trial 3, and again before the results of trial 5 were stored.
    calls = 0
    ends = history.epoch_ends

    def killed(stage: str, epoch: int, epochs: int, mean_ap: Callable[[], float]) -> None:
        nonlocal calls
        ends(stage, epoch, epochs, mean_ap)
        calls += 1
        if calls == 3 * 4 + 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(history, "epoch_ends", killed)
    with pytest.raises(KeyboardInterrupt):
        search.tune(recipe, [], budget, trials=6, time_s=None, out=tmp_path / "killed")
    monkeypatch.undo()
    part = search.tune(recipe, [], budget, trials=6, time_s=0.0, out=tmp_path / "killed")
    assert not part.finished and len(part.outcomes) == 3
    found = search.tune(recipe, [], budget, trials=6, time_s=None, out=tmp_path / "killed")
    assert results(found) == results(whole)

    # Other test photographs: the same trials.
    random = np.random.default_rng(0)
    for path in (tmp_path / "photos" / "test").rglob("*.jpg"):
        Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    other = search.tune(recipe, [], budget, trials=3, time_s=None, out=tmp_path / "other")
    assert results(other) == results(whole)[:3]
    # Other validation photographs: not the same. They are among those of train/.
    for path in (tmp_path / "photos" / "train" / "digit 0").rglob("*.jpg"):
        Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    control = search.tune(recipe, [], budget, trials=1, time_s=None, out=tmp_path / "control")
    assert results(control) != results(whole)[:1]


def test_values_that_fail_together_are_refused_and_the_search_goes_on(recipe: Path, tmp_path: Path) -> None:
    """Each value alone fits the recipe; a batch of 16 images cannot have 5 of each class."""
    text = recipe.read_text(encoding="utf-8").replace(TUNE, "{train.batch_size: [16, 20], train.per_class: [4, 5]}")
    recipe.write_text(text, encoding="utf-8")
    space, _, _ = search.search_space(recipe, [])
    document = space.with_values({"train.batch_size": 0, "train.per_class": 1})
    assert document["train"]["per_class"] == 5
    trial = search.Trial(search.parse_recipe(document, "trial"), tmp_path / "trial", 1, {}, Budget())
    outcome = trial.run([], search.Reference(tmp_path, (32, 32), 1.0))
    assert outcome.state == "refused" and "per_class: 5 does not divide batch_size 16" in (outcome.reason or "")
    with pytest.raises(BadInput, match="per_class"):  # trial 0 must work
        trial.run([], None)
    assert json.dumps(outcome.to_json())
    assert dataclasses.replace(outcome).from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
