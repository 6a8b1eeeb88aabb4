"""What a run measures is found once: a resumed run and the bundle's own recipe take it and give the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from compress.contracts import MissingTool, Model
from compress.pipeline import run
from compress.recipe.reader import load_recipe
from compress.run.measured_choices import _Latencies
from compress.run.plan import plan
from compress.system.files import artifact_sha256

RECIPE = """
name: fast
data: {{dataset: image_folder, root: "{root}", image_size: 32}}
model: {{architecture: alnet, widths: [16, 24], strides: [2, 2], expansions: [2, 2], head_width: 32}}
train: {{epochs: 1, batch_size: 10}}
compress:
  - prune: {{latency: 0.999, latency_format: torchscript, multiple_of: 1}}
export:
  - torchscript: {{optimize: measured, max_bytes: 400000}}
validate:
  gates: {{mAP_drop: 1}}
"""


@pytest.fixture
def recipe(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    for label in range(2):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 12)
    path = tmp_path / "fast.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "photos"), encoding="utf-8")
    return path


@pytest.mark.nightly
def test_a_resumed_run_and_the_bundles_recipe(
    recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = _Latencies.__call__

    def bytes_for_milliseconds(self: _Latencies, models: Sequence[Model]) -> list[float]:
        """The files are timed, but what is compared falls with every channel on every machine."""
        assert min(timed(self, models)) > 0
        return [float(self._file(model).stat().st_size) for model in models]

    monkeypatch.setattr(_Latencies, "__call__", bytes_for_milliseconds)
    manifest = run(load_recipe(recipe), tmp_path / "first")
    assert manifest is not None
    said = capfd.readouterr().err
    assert "measures latency on the runtime of torchscript" in said and "chooses the variants of fast.fp32.pt" in said
    (artifact,) = manifest.artifacts
    assert artifact.plan is not None
    assert any(place.startswith("shuffle:") for place in artifact.plan)
    lines = [json.loads(line) for line in (tmp_path / "first/metrics.jsonl").read_text().splitlines()]
    (pruned,) = [line for line in lines if line["stage"] == "prune"]
    assert pruned["latency"] == 0.999 and 0 < pruned["ratio"] < 1 and pruned["params"] < pruned["params_before"]

    bundled = load_recipe(tmp_path / "first/recipe.yaml")
    assert bundled.exports[0].plan == artifact.plan
    shutil.copytree(tmp_path / "first", tmp_path / "resumed")
    (tmp_path / "resumed/artifacts/fast.fp32.pt").unlink()
    for source, folder in ((recipe, "resumed"), (tmp_path / "first/recipe.yaml", "replayed")):
        again = run(load_recipe(source), tmp_path / folder)
        assert again is not None and again.recipe_sha256 == manifest.recipe_sha256
        said = capfd.readouterr().err
        assert "measures latency" not in said and "chooses the variants" not in said
        for name in ("artifacts/fast.fp32.pt", "checkpoints/1-prune.safetensors", "recipe.yaml", "metrics.jsonl"):
            assert artifact_sha256(tmp_path / folder / name) == artifact_sha256(tmp_path / "first" / name)


def test_what_cannot_be_timed_here_is_found_before_training(recipe: Path) -> None:
    text = recipe.read_text().replace("torchscript: {optimize", "coreml: {optimize")
    recipe.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.platform", "linux")
        with pytest.raises(MissingTool, match="nothing can time coreml files here"):
            plan(load_recipe(recipe))
