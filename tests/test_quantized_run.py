"""A whole run of a recipe that trains for integers and exports them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.model.checkpoint import load_model
from compress.pipeline import run
from compress.recipe.reader import load_recipe

RECIPE = """
name: integers
seed: 1
license: CC0-1.0
data: {{dataset: image_folder, root: "{root}", image_size: 24, validation_share: 0.2}}
model:
  {{architecture: alnet, stem_stride: 2, stem_width: 16, widths: [16], strides: [2], expansions: [1], head_width: 32}}
train: {{epochs: 2, batch_size: 16, lr: 0.05, schedule: one_cycle}}
compress:
  - qat: {{epochs: 1, batch_size: 16}}
export:
  - tflite: {{precision: w8a8, calibration_images: 24, keep_float: auto, float_tolerance: 0.000001}}
validate:
  runtimes: [litert: {{xnnpack: false}}]
"""


@pytest.mark.nightly
def test_a_recipe_with_w8a8_ends_in_a_checked_bundle(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    for label in range(4):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 20)
    recipe = tmp_path / "integers.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "photos"), encoding="utf-8")
    folder = tmp_path / "bundle"
    run(load_recipe(recipe), folder)
    model = load_model(folder / "checkpoints" / "1-qat.safetensors")
    artifacts = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["artifacts"]
    assert len(artifacts) == 1
    for artifact in artifacts:
        assert artifact["path"] == "artifacts/integers.w8a8.tflite"
        assert artifact["evidence"] == "native", artifact
        assert set(artifact["stored"]["activations"]) == {"int8"}
        assert artifact["calibration"]["images"] == 24
        chosen = artifact["quantization"]
        assert chosen["learned_ranges"]["used"] + len(chosen["learned_ranges"]["unused"]) == len(model.ranges) > 15
        assert chosen["learned_ranges"]["used"] > 10
        assert all(name.split()[0] in {"sigmoid", "mul", "mean", "add", "concat"} for name in chosen["float_at"])
        assert 0 < chosen["neighbours_kept"] <= 1
