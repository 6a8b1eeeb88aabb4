"""A network that has learnt nothing is named before anything is exported; one that has passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.contracts import CompressError, HeldOut, Model, Observation
from compress.data.load import load_data
from compress.model.checkpoint import last_checkpoint, load_model
from compress.model.reference import observe
from compress.recipe.reader import load_recipe
from compress.run import check_context as module
from compress.run.check_context import CheckContext
from compress.run.learning_check import Learned, _problem, require_learned
from compress.run.steps import held_out_of
from compress.run.workspace import Workspace
from tests._command import compress
from tests.conftest import Finished


@pytest.fixture
def context(finished: Finished, tmp_path: Path) -> CheckContext:
    recipe = load_recipe(finished.recipe)
    data = load_data(recipe.data, recipe.seed)
    held_out, _, _ = held_out_of(data, recipe)
    model = load_model(last_checkpoint(finished.folder))
    return CheckContext(Workspace(tmp_path / "run", recipe.name), recipe.validation, model, held_out, data.fingerprint)


def test_a_trained_network_passes(context: CheckContext) -> None:
    require_learned(context)


@pytest.mark.every_change("constant", "random")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("constant", "gives every image the same embedding"),
        ("zero", "gives every image the same embedding"),
        ("random", "finds no more than a random order does"),
        ("nan", "gives NaN or infinity for held-out images"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_what_to_do(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    def spoiled(model: Model, held_out: HeldOut) -> Observation:
        real = observe(model, held_out)
        shape, random = real.queries.shape, np.random.default_rng(0)
        features = {
            "constant": np.repeat(real.queries[:1], len(real.queries), axis=0),
            "zero": np.zeros(shape, np.float32),
            "random": random.standard_normal(shape).astype(np.float32),
            "nan": np.full(shape, np.nan, np.float32),
        }[kind]
        return Observation(features, features, features[: len(real.probes)], real.latency)

    monkeypatch.setattr(module, "observe", spoiled)
    with pytest.raises(CompressError) as caught:
        require_learned(context)
    message = str(caught.value)
    assert words in message
    assert "train.clip_norm: 1" in message
    assert message.endswith("nothing was exported")
    assert "\n" not in message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("mean_ap", "chance", "wrong"),
    [(0.154, 0.1444, True), (0.2, 0.1444, False), (0.96, 0.95, False), (0.952, 0.95, True), (1.0, 1.0, False)],
)
def test_a_tenth_above_chance_is_asked_for(mean_ap: float, chance: float, wrong: bool) -> None:
    """The first row is ALNet on 372 photographs of clothes, which named the largest class in every epoch."""
    found = Learned(spread=0.33, mean_ap=mean_ap, chance=chance, answerable=1.0)
    assert (_problem(found, 372) is not None) == wrong


@pytest.mark.nightly
def test_a_run_stops_before_its_exports_and_blames_no_file(finished: Finished, tmp_path: Path) -> None:
    untrained = ("--set", "train.epochs=1", "--set", "train.lr=1e-12")
    ended = compress("run", finished.recipe, "--out", tmp_path / "run", *untrained)
    assert ended.code == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("compress: ")]
    assert "nothing was exported" in line
    assert "FAILED" not in ended.stderr
    assert not (tmp_path / "run" / "artifacts").exists()
    assert not (tmp_path / "run" / "bundle.json").exists()
