"""Components of another package and of the user's own files: found, listed, checked, executed, and part of keys."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import torch
from torch import nn

from compress import plugins
from compress.contracts import BadInput, Dataset, Loss, Runtime, Stage
from compress.options import build_named
from compress.plugins import code
from compress.recipe.reader import load_recipe, parse_recipe
from compress.recipe.schema import json_schema
from compress.run.workspace import code_key
from tests._command import compress, compress_here
from tests.conftest import Finished
from tests.losses.test_every_loss import CLASSES, DIM, N, problem
from validators import run_artifact, runtimes_for
from validators.metrics import evaluate_retrieval

RECIPE: dict[str, Any] = {
    "name": "shapes",
    "data": {"dataset": "shapes", "image_size": 32},
    "model": {
        "architecture": "alnet",
        "stem_stride": 2,
        "widths": [16, 16],
        "strides": [2, 2],
        "expansions": [1, 2],
        "head_width": 32,
    },
    "train": {"epochs": 5, "batch_size": 8, "lr": 0.05, "schedule": "one_cycle", "loss": {"center": {"weight": 0.02}}},
    "export": [{"onnx": {}}],
    "validate": {"runtimes": ["numpy_onnx"]},
}

OWN = '''
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compress.contracts import Check, Data, Loss, Model, Stage, Verdict
from compress.indexes.flat import Flat
from exporters.torchscript import TorchScript
from validators.runtimes.torchscript import TorchScript as Runtime

class _Squared(nn.Module):
    def forward(self, embeddings, logits, labels):
        return nn.functional.cross_entropy(logits, labels) + 0.01 * embeddings.square().mean()

@dataclass(frozen=True, kw_only=True)
class Squared(Loss):
    def build(self, embedding_dim, num_classes):
        return _Squared()

@dataclass(frozen=True, kw_only=True)
class Scale(Stage):
    factor: float = 2.0
    def run(self, model, data, *, seed, scratch):
        from copy import deepcopy
        from dataclasses import replace
        network = deepcopy(model.network)
        with torch.no_grad():
            next(network.parameters()).mul_(self.factor)
        return replace(model, network=network, history=(*model.history, {"stage": "scale", "factor": self.factor}))

@dataclass(frozen=True, kw_only=True)
class Spread(Check):
    least: float = 0.0
    def run(self, reference, candidate, held_out, embedding):
        spread = float(candidate.queries.std())
        return Verdict(spread >= self.least, {"spread": spread})

@dataclass(frozen=True, kw_only=True)
class Mine(TorchScript):
    format = "mine"
    suffix = ".mine"

@dataclass(frozen=True, kw_only=True)
class RunsMine(Runtime):
    formats = frozenset({"mine"})

@dataclass(frozen=True, kw_only=True)
class MyFlat(Flat):
    pass

def first(ranks, length):
    """Reciprocal of the first relevant rank."""
    return 1 / ranks[0]

class NoComponent:
    pass
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file of the user's own components."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_named", set())
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    return tmp_path / "own.py"


@pytest.mark.usefixtures("with_plugin")
def test_components_of_an_installed_package_are_named_like_ours() -> None:
    recipe = parse_recipe(RECIPE, "shapes")
    assert recipe.data.component_name() == "shapes"
    assert type(recipe.data).__module__ == "compress_example.shapes"
    assert recipe.resolved["train"]["loss"] == {"center": {"weight": 0.02}}
    assert recipe.resolved["validate"]["runtimes"] == [{"numpy_onnx": {}}]
    again = parse_recipe(recipe.resolved, "resolved")
    assert again == recipe
    splits = recipe.data.splits(0)
    assert (len(splits.train), len(splits.test)) == (144, 36)


@pytest.mark.usefixtures("with_plugin")
def test_mistakes_in_them_are_explained_like_ours() -> None:
    wrong = {**RECIPE, "data": {"dataset": "shape"}, "train": {"loss": {"center": {"weigth": 1}}}}
    with pytest.raises(BadInput) as caught:
        parse_recipe(wrong, "shapes")
    assert "did you mean 'shapes'?" in str(caught.value)
    assert "train.loss.center.weigth: unknown key; did you mean 'weight'?" in str(caught.value)


@pytest.mark.usefixtures("with_plugin")
def test_the_schema_knows_them() -> None:
    schema = json_schema()
    check = jsonschema_rs.validator_for(schema)
    assert check.is_valid(RECIPE)
    assert not check.is_valid({**RECIPE, "data": {"dataset": "shapes", "per_klass": 3}})
    assert not check.is_valid({**RECIPE, "train": {"loss": {"center": {"weight": "much"}}}})
    assert check.is_valid({**RECIPE, "train": {"loss": "./own.py:Squared"}, "compress": [{"./own.py:Scale": {}}]})


def test_they_are_listed_without_being_imported(plugin: Path) -> None:
    (plugin / "compress_broken-1.dist-info").mkdir(exist_ok=True)
    (plugin / "compress_broken-1.dist-info/METADATA").write_text("Name: compress-broken\nVersion: 1\n")
    (plugin / "compress_broken-1.dist-info/entry_points.txt").write_text("[compress.stages]\nbroken = nowhere:Stage\n")
    listed = compress("list", PYTHONPATH=str(plugin))
    assert listed.code == 0, listed.stderr
    for line in (
        "center            compress_example.center:Center of compress-example 1.0",
        "broken         nowhere:Stage of compress-broken 1",
    ):
        assert " ".join(line.split()) in " ".join(listed.stdout.split())


@pytest.mark.usefixtures("with_plugin")
def test_its_loss_passes_the_test_of_ours() -> None:
    with plugins.naming_code():
        loss = build_named(Loss, "center", "loss").build(DIM, CLASSES)
    classifier, labels = nn.Linear(DIM, CLASSES), torch.arange(N) % CLASSES
    assert problem(lambda e: loss(e, classifier(e), labels)) is None


@pytest.mark.usefixtures("with_plugin")
def test_its_runtime_executes_and_only_where_it_is_named(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_named", set())
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    path = finished.folder / "artifacts/tiny.fp32.onnx"
    with pytest.raises(BadInput, match="a file must not choose"):
        plugins.find(Runtime, "numpy_onnx")
    assert "numpy_onnx" not in [runtime.component_name() for runtime in runtimes_for("onnx")]
    assert not [name for name in sys.modules if name.startswith("compress_example")]
    assert np.allclose(run_artifact(path, images, runtime="numpy_onnx"), run_artifact(path, images), atol=1e-4)


@pytest.mark.nightly
def test_verify_imports_nothing_of_another_package(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that is installed and broken: a bundle executes our runtimes alone, unless the command names others."""
    package = tmp_path / "harm.py"
    package.write_text("import pathlib; pathlib.Path(__file__).with_name('harmed').touch()\n", encoding="utf-8")
    about = tmp_path / "harm-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: harm\nVersion: 1\n", encoding="utf-8")
    kinds = [*(plugins.kind(base) for base in plugins.FOLDERS), "metrics"]
    groups = [f"[compress.{kind}]\nharm/it = harm:It\nlitert = harm:It\n" for kind in kinds]
    (about / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    code.offered.cache_clear()
    verified = compress_here("verify", finished.folder)
    assert verified.code == 0, verified.stdout + verified.stderr
    assert not (tmp_path / "harmed").exists()
    named = compress_here("verify", finished.folder, "--runtime", "harm/it")
    code.offered.cache_clear()
    assert (named.code, (tmp_path / "harmed").exists()) == (2, True), named


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.loss=./own.py:Squaredd", "has no class or function 'Squaredd'; did you mean 'Squared'?"),
        ("train.loss=./own.py:NoComponent", "derive <class"),
        ("train.loss=./own.py:Scale", "from compress.contracts.Loss"),
        ("train.loss=./nowhere.py:Loss", "nowhere.py: no such file"),
        ("train.loss=own.py:Squared", "./file.py:Class"),
        ("compress=[{'./own.py:Scale': {faktor: 2}}]", "faktor: unknown key; did you mean 'factor'?"),
        ("validate={'./own.py:Spread': {least: low}}", "validate../own.py:Spread.least: 'low' is wrong"),
        ("validate={retrieval: {metrics: ['./own.py:second']}}", "has no class or function 'second'"),
        ("validate={retrieval: {metrics: [mAPP]}}", "unknown metric 'mAPP'"),
    ],
)
@pytest.mark.usefixtures("own")
def test_code_that_does_not_fit_is_one_line(change: str, words: str, finished: Finished) -> None:
    with pytest.raises(BadInput) as caught:
        load_recipe(finished.recipe, [change])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changed_code_is_another_key(own: Path) -> None:
    def key() -> dict[str, dict[str, str]]:
        with plugins.naming_code():
            return code_key(build_named(Stage, {"./own.py:Scale": {}}, "compress.0"))

    before = key()
    assert list(before["code"]) == ["./own.py:Scale"]
    assert key() == before
    own.write_text(OWN.replace("factor: float = 2.0", "factor: float = 3.0"), encoding="utf-8")
    assert key() != before
    with plugins.naming_code():
        assert code_key(build_named(Loss, "cross_entropy", "loss")) == {}


@pytest.mark.usefixtures("with_plugin")
def test_a_package_is_identified_by_all_of_its_files(plugin: Path) -> None:
    with plugins.naming_code():
        shapes = build_named(Dataset, "shapes", "data")
    before = code_key(shapes)
    other = plugin / "compress_example" / "center.py"
    text = other.read_text(encoding="utf-8")
    other.write_text(text + "\n", encoding="utf-8")
    after = code_key(shapes)
    other.write_text(text, encoding="utf-8")
    assert after != before == code_key(shapes)


@pytest.mark.usefixtures("own")
def test_a_metric_of_the_users_own_scores_like_ours() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 4)), np.arange(60) % 5
    with plugins.naming_code():
        scores = evaluate_retrieval(
            features, features, labels, labels, metrics=("./own.py:first", "hit@1"), exclude_self=True
        )
    slow = []
    for row in range(60):
        order = np.argsort(np.linalg.norm(features - features[row], axis=1), kind="stable")
        order = order[order != row]
        slow.append(1 / (1 + int(np.flatnonzero(labels[order] == labels[row])[0])))
    assert scores["./own.py:first"] == pytest.approx(np.mean(slow))
    assert scores["./own.py:first"] > scores["hit@1"]


@pytest.mark.nightly
def test_every_kind_from_one_file_becomes_a_verified_bundle(
    own: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss, stage, exporter, runtime, check, index and metric; changed code runs its steps again, and only those."""
    document = load_recipe(finished.recipe, [f"data.root={finished.recipe.parent / 'photos'}"]).resolved
    recipe: dict[str, Any] = {
        "name": "own",
        "data": document["data"],
        "model": document["model"],
        "train": {"epochs": 4, "batch_size": 16, "lr": 0.05, "schedule": "one_cycle", "loss": "./own.py:Squared"},
        "compress": [{"./own.py:Scale": {"factor": 1.0}}],
        "export": [{"./own.py:Mine": {}}],
        "gallery": {"index": "./own.py:MyFlat"},
        "validate": {
            "runtimes": ["./own.py:RunsMine"],
            "./own.py:Spread": {"least": 0.01},
            "retrieval": {"metrics": ["./own.py:first"]},
        },
    }
    Path("own.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    first = compress_here("run", "own.yaml")
    assert first.code == 0, first.stdout + first.stderr
    bundle = json.loads(Path("runs/own/bundle.json").read_text(encoding="utf-8"))
    (artifact,) = bundle["artifacts"]
    assert (artifact["format"], artifact["runtime"], artifact["evidence"]) == ("mine", "./own.py:RunsMine", "native")
    assert artifact["own"]["failed"] == 0 and artifact["own"]["values"]["./own.py:Spread"]["spread"] > 0.01
    assert [gate["passed"] for gate in artifact["gates"] if gate["name"] == "own_checks"] == [True]
    assert 0 < artifact["retrieval"]["./own.py:first"] <= 1
    plugins._named.clear()  # as a new process has it
    refused = compress_here("verify", "runs/own")
    assert (refused.code, "--runtime NAME" in refused.complaint) == (2, True), refused
    unsearched = compress_here("verify", "runs/own", "--runtime", "./own.py:RunsMine")
    assert "which a bundle must not choose" in unsearched.stdout + unsearched.stderr
    monkeypatch.setenv("COMPRESS_PLUGINS", "./own.py:MyFlat")
    verified = compress_here("verify", "runs/own", "--runtime", "./own.py:RunsMine")
    assert verified.code == 0, verified.stdout + verified.stderr
    assert "must not choose" not in verified.stdout
    own.write_text(OWN.replace("0.01 * embeddings", "0.02 * embeddings"), encoding="utf-8")
    again = compress_here("run", "own.yaml")
    assert "train: epoch 4/4" in again.stdout + again.stderr
    reused = compress_here("run", "own.yaml")
    assert "train: epoch 4/4" not in reused.stdout + reused.stderr
    recipe["validate"]["./own.py:Spread"] = {"least": 1e9}
    Path("own.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    failing = compress_here("run", "own.yaml")
    assert (failing.code, "own_checks" in failing.stderr) == (1, True), failing
    unexecuted = compress_here("run", "own.yaml", "--set", "validate.runtimes=[]")
    assert (unexecuted.code, "no runtime executes 'mine'" in unexecuted.complaint) == (2, True), unexecuted


@pytest.mark.nightly
def test_the_package_makes_a_bundle(plugin: Path, tmp_path: Path) -> None:
    Path(tmp_path / "shapes.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    ended = compress("run", tmp_path / "shapes.yaml", "--out", tmp_path / "bundle", PYTHONPATH=str(plugin))
    assert ended.code == 0, ended.stdout + ended.stderr
    bundle = json.loads((tmp_path / "bundle/bundle.json").read_text(encoding="utf-8"))
    assert bundle["data"]["dataset"] == "shapes"
    (other,) = bundle["artifacts"][0]["other_runtimes"]
    assert (other["runtime"], other["evidence"]) == ("numpy_onnx", "reference")
    assert other["parity"]["min_cosine"] > 0.9999
