"""A whole run whose recipe names an Arm runtime: its row, its pairs with the server's file, and what betrays a fake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.bundle.consistency import checksum, inconsistencies
from compress.bundle.manifest import MANIFEST, read_manifest
from compress.commands.verify import verify
from compress.pipeline import run
from compress.recipe.reader import load_recipe
from tests.validators.test_arm import emulated, with_folder
from validators.runtimes._arm import ArmRuntime

RECIPE = """
name: arm
seed: 1
license: CC0-1.0
data: {{dataset: image_folder, root: "{root}", image_size: 24, validation_share: 0.2}}
model:
  {{architecture: alnet, stem_stride: 2, stem_width: 16, widths: [16], strides: [2], expansions: [1], head_width: 32}}
train: {{epochs: 6, batch_size: 16, lr: 0.05, schedule: one_cycle}}
export:
  - tflite: {{precision: w8a32}}
validate:
  runtimes: [litert: {{arm: true}}]
"""


@pytest.mark.nightly
@with_folder
@emulated
def test_an_arm_row_is_compared_with_the_servers_file(
    tmp_path: Path, save_photos: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ArmRuntime, "most_pixels", lambda runtime: 12 * 24 * 24 if runtime.arm else None)
    for label in range(4):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 30)
    recipe, folder = tmp_path / "arm.yaml", tmp_path / "bundle"
    recipe.write_text(RECIPE.format(root=tmp_path / "photos"), encoding="utf-8")
    run(load_recipe(recipe), folder)

    manifest = read_manifest(folder)
    (artifact,) = manifest.artifacts
    (arm,) = artifact.other_runtimes
    assert (artifact.runtime, artifact.processor, artifact.evidence) == ("litert", "x86", "native")
    assert (arm.runtime, arm.processor, arm.evidence) == ("litert-arm", "arm", "emulated-arm")
    assert arm.latency_ms is None
    assert arm.retrieval is not None
    assert arm.retrieval.queries == 12
    assert any("executed on 12 of 24 queries" in note for note in arm.notes)
    # Arm rounds the activations otherwise than x86: values copied from the x86 row would be equal.
    assert arm.separation is not None
    assert artifact.separation is not None
    assert arm.separation.control_ratio != artifact.separation.control_ratio
    phone = "artifacts/arm.w8a32.tflite on litert-arm"
    assert list(manifest.compatibility) == ["pytorch", "artifacts/arm.w8a32.tflite", phone]
    assert all(value is not None for row in manifest.compatibility.values() for value in row.values())
    assert ".tflite w8a32 · litert-arm" in (folder / "report.html").read_text(encoding="utf-8")
    again = verify(folder, "litert-arm")
    assert [entry.evidence for entry in again.entries] == ["emulated-arm"]

    values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    row = values["artifacts"][0]["other_runtimes"][0]
    for changes, words in (
        ({"processor": "x86"}, "processor 'x86' contradicts its evidence"),
        ({"latency_ms": values["artifacts"][0]["latency_ms"]}, "latency_ms contradicts its evidence"),
    ):
        kept = dict(row)
        row.update(changes)
        values["checksum"] = checksum(values)
        (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")
        found = inconsistencies(folder, read_manifest(folder))
        assert any(words in line for line in found), found
        row.update(kept)
