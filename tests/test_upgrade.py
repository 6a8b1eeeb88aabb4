"""A whole upgrade: the new bundle searches the old one's galleries, says what that gives, and is held to it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.bundle.gallery_of_bundle import fitted, read_searchable
from compress.bundle.manifest import Manifest, read_manifest
from compress.commands.search import query
from compress.commands.upgrade import plan
from compress.commands.verify import verify
from compress.contracts import BadInput
from compress.demo.systems import open_systems
from compress.gallery.store import GALLERY, read_gallery
from compress.pipeline import run
from compress.recipe.reader import load_recipe
from compress.report import REPORT
from tests._command import compress_here
from tests._once import shared
from tests.conftest import Finished

NEWER = (
    "name=newer",
    "model={architecture: projected, dim: 80, trunk: {alnet: {widths: [24, 24], strides: [2, 2], expansions: [1, 3]}}}",
    "train={epochs: 8, batch_size: 16, lr: 0.05, schedule: one_cycle}",
    "export=[torchscript: {}]",
    # So few images teach little; not to be trained for it costs 0.4.
    "validate={gates: {old_gallery_gain: -0.2}}",
)


@pytest.fixture(scope="module")
def newer(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network, trained to search the finished bundle's galleries."""
    with shared(tmp_path_factory, "newer") as folder:
        if not (folder / "bundle").exists():
            recipe = load_recipe(finished.recipe, [*NEWER, f"train.compatible_with={finished.folder}"])
            assert run(recipe, folder / "bundle") is not None
    return folder / "bundle"


@pytest.fixture
def old_gallery(finished: Finished) -> Path:
    return finished.folder / GALLERY


def edited(bundle: Path, copy: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(bundle, copy)
    content = json.loads((copy / "bundle.json").read_text(encoding="utf-8"))
    edit(content)
    (copy / "bundle.json").write_text(json.dumps(content), encoding="utf-8")
    return copy


@pytest.mark.nightly
def test_the_bundle_says_what_its_queries_find_in_the_old_gallery(newer: Path, finished: Finished) -> None:
    manifest = read_manifest(newer)
    upgrade, old = manifest.upgrade, read_manifest(finished.folder)
    assert upgrade is not None
    assert (upgrade.space_id, upgrade.dim, upgrade.queries) == (old.embedding.space_id, 64, 60)
    assert upgrade.old_mAP == pytest.approx(old.source.mAP, abs=1e-6)
    row = manifest.compatibility["old"]
    assert row["pytorch"] == upgrade.after(0).mAP and row["old"] == upgrade.old_mAP
    assert upgrade.after(1).mAP == manifest.source.mAP
    assert upgrade.passed and not manifest.failures
    assert upgrade.gain_low < upgrade.gain < upgrade.gain_high  # type: ignore[operator]
    assert upgrade.gates[0].value == upgrade.gain_low
    assert manifest.embedding.space_id != old.embedding.space_id
    report = (newer / REPORT).read_text(encoding="utf-8")
    assert 'id="old-galleries"' in report and f"{upgrade.old_mAP:.4f}" in report


@pytest.mark.nightly
def test_it_searches_the_old_gallery_by_the_first_values(newer: Path, old_gallery: Path, finished: Finished) -> None:
    manifest = read_manifest(newer)
    photograph = next((finished.folder.parent / "photos").rglob("*.jpg"))
    answer = query(newer, photograph, top=3, gallery=old_gallery)
    gallery = read_gallery(old_gallery)
    assert answer.gallery == len(gallery.names) and len(answer.matches) == 3
    (system,) = open_systems([newer], exact=False, galleries=[old_gallery])
    assert system.now().bundle.older
    assert read_searchable(manifest, old_gallery).names == gallery.names
    with pytest.raises(BadInput, match=r"--threshold 1%: an older model made the gallery, .* give a distance"):
        query(newer, photograph, top=1, gallery=old_gallery, threshold="1%")
    assert query(newer, photograph, top=1, gallery=old_gallery, threshold="1e9").matches
    # Unlike search, a check of the file asks for an artifact of this bundle.
    assert any("made in the embedding space" in line for line in verify(newer, gallery=old_gallery).problems)


@pytest.mark.nightly
def test_first_values_are_normalised_again_for_the_cosine(old_gallery: Path) -> None:
    gallery = read_gallery(old_gallery)
    given = np.arange(160, dtype=np.float32).reshape(2, 80)
    assert np.array_equal(fitted(given, gallery), given[:, :64])
    gallery.meta["distance"] = "cosine"  # type: ignore[index]
    assert np.allclose(np.linalg.norm(fitted(given, gallery), axis=1), 1)
    assert np.array_equal(fitted(given[:, :64], gallery), given[:, :64])


@pytest.mark.nightly
def test_the_command_says_whether_galleries_must_be_rebuilt(newer: Path, finished: Finished, tmp_path: Path) -> None:
    ended = compress_here("upgrade", finished.folder, newer)
    assert ended.code == 0, ended.stderr
    assert "galleries must not be rebuilt: newer was trained to search them" in ended.stdout
    upgrade = read_manifest(newer).upgrade
    assert upgrade is not None
    for each in upgrade.partly:
        line = rf"^ *{each.share:.0%} +{each.mAP:.4f} +{each.flips.lost} +{each.flips.gained} *$"
        assert re.search(line, ended.stdout, re.MULTILINE), (line, ended.stdout)
    assert "the first 64 of 80 values" in ended.stdout
    values = json.loads(compress_here("upgrade", finished.folder, newer, "--json").stdout)
    assert values["rebuild"] is False and values["upgrade"]["gates"][0]["name"] == "old_gallery_gain"

    assert plan(finished.folder, finished.folder).reason == "both models have one embedding space"
    back = plan(newer, finished.folder)
    assert back.rebuild and f"was not trained with train.compatible_with: {newer}" in back.reason


@pytest.mark.nightly
def test_a_failed_gate_fails_everything_that_relies_on_it(
    newer: Path, finished: Finished, old_gallery: Path, tmp_path: Path
) -> None:
    def worse(content: dict[str, Any]) -> None:
        content["upgrade"] |= {"gain": -0.3, "gain_low": -0.3}
        content["upgrade"]["gates"][0] |= {"value": -0.3, "passed": False}

    failed = edited(newer, tmp_path / "failed", worse)
    ended = compress_here("upgrade", finished.folder, failed)
    assert ended.code == 1
    assert ended.stderr == "FAILED the old gallery: old_gallery_gain -0.3, limit -0.2\n"
    assert "galleries must be rebuilt: queries of " in ended.stdout
    with pytest.raises(
        BadInput, match=r"an older model made it, .*\(old_gallery_gain failed\); make the gallery again"
    ):
        read_searchable(read_manifest(failed), old_gallery)
    assert "the old gallery: old_gallery_gain -0.3, limit -0.2; failed when made" in verify(failed).problems


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda content: content["upgrade"].update(gain=0.9), "upgrade.gain 0.9 contradicts compatibility"),
        (lambda content: content["upgrade"].update(gain_low=0.9), "gate old_gallery_gain "),
        (lambda content: content["upgrade"]["gates"][0].update(limit=-1.0), "upgrade.gates [-1.0] contradicts recipe"),
        (lambda content: content["upgrade"].update(gates=[]), "upgrade.gates [] contradicts recipe.yaml"),
        (lambda content: content.pop("upgrade"), "compatibility ['old'] contradicts the executed artifacts"),
    ],
)
def test_a_changed_verdict_is_found(
    newer: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], words: str
) -> None:
    problems = verify(edited(newer, tmp_path / "changed", edit)).problems
    assert any(words in line for line in problems), problems


@pytest.mark.nightly
@pytest.mark.nightly
def test_a_model_that_was_not_trained_for_it_fails_the_gate(finished: Finished, tmp_path: Path) -> None:
    recipe = load_recipe(
        finished.recipe, [*NEWER, f"train.compatible_with={finished.folder}", "train.compatible_weight=0"]
    )
    manifest: Manifest | None = run(recipe, tmp_path / "bundle")
    assert manifest is not None and manifest.upgrade is not None
    assert [line.partition(" -")[0] for line in manifest.failures] == ["the old gallery: old_gallery_gain"]


@pytest.mark.nightly
def test_a_gate_without_an_old_model_is_refused(finished: Finished) -> None:
    with pytest.raises(BadInput, match=r"validate.gates.old_gallery_gain: there is no old model; set train.compatible"):
        load_recipe(finished.recipe, ["validate={gates: {old_gallery_gain: 0.01}}"])
