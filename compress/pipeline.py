"""The whole story: a recipe becomes a trained model, exported artifacts, checked artifacts and a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from compress.bundle.golden import choose_probes, make_golden, write_golden
from compress.bundle.write import write_bundle
from compress.contracts import BadInput, HeldOut
from compress.data.load import load_data
from compress.data.remarks import remarks
from compress.model.checkpoint import save_model
from compress.model.reference import embed
from compress.model.start import initial_model
from compress.recipe.reader import Recipe
from compress.report import write_report
from compress.run.assess import Assessor
from compress.run.measured_choices import measured_stage
from compress.run.preflight import check_model, check_recipe
from compress.run.steps import export, run_stage, teacher_of
from compress.run.workspace import Workspace
from compress.system import processes
from compress.system.progress import say

GOLDEN_IMAGES = 64


def run(recipe: Recipe, folder: Path, *, until: str | None = None, fresh: bool = False) -> dict[str, Any] | None:
    """Do every step of ``recipe`` in ``folder``; finished steps are reused.

    Args:
        until: stop after this one of ``recipe.steps``; then no bundle is written.
        fresh: do finished steps again.

    Returns:
        The manifest that stands in ``folder/bundle.json``, or None when ``until`` stopped earlier.
    """
    until = until or recipe.steps[-1]
    exporting = until in ("export", "validate")
    check_recipe(recipe, exports=exporting)
    work = Workspace(folder, recipe.name, fresh=fresh)
    data = load_data(recipe.data, recipe.seed, progress=True)
    gallery = "" if data.leave_one_out else f", a gallery of {len(data.gallery):,}"
    say(f"data: {data.dataset}, {len(data.train):,} training, {len(data.queries):,} held-out images{gallery}")
    for line in remarks(data):
        say(line)
    if until == "data":
        return None
    model = initial_model(recipe, data.classes, data.preprocess, only_tests=not len(data.train))
    check_model(recipe, model, data.division, gallery=len(data.gallery), exports=exporting)
    # Entered only now, so that data or a checkpoint that cannot be used leaves no folder behind.
    with work:
        if not recipe.stages:
            save_model(model, folder / "checkpoints" / "initial.safetensors")
        stages, exports = [], []
        for step, stage in recipe.stages:
            stages.append((step, measured_stage(work, step, stage, model, data)))
            model = run_stage(work, *stages[-1], model, data, recipe.seed)
            if until == step:
                return None
        artifacts = []
        for exporter in recipe.exports:
            artifact, chosen = export(work, exporter, model, recipe, data)
            artifacts.append(artifact)
            exports.append(chosen)
        if until == "export":
            return None
        probes, labels, ids = choose_probes(data.queries, GOLDEN_IMAGES, recipe.seed)
        held_out = HeldOut(data.queries, data.gallery, probes, data.ground_truths, recipe.gallery.scales)
        assessor = Assessor(work, recipe.validation, model, held_out, data.fingerprint, teacher_of(recipe, model))
        index = assessor.gallery(recipe.gallery, recipe.name)
        golden = make_golden(probes, labels, ids, embed(model, probes), index, data.leave_one_out)
        write_golden(folder / "golden", golden, model.classes, index, recipe.data.images_license or recipe.license)
        entries = [assessor.entry(artifact, golden, index) for artifact in artifacts]
        findings = {
            "source": assessor.source(),
            "artifacts": entries,
            "gallery": assessor.gallery_entry(recipe.gallery.index, index, recipe.seed),
            "controls": assessor.controls(artifacts, labels, recipe.seed),
            "compatibility": assessor.compatibility(),
        }
        assessor.rankings(index, recipe.gallery.thumbnail)
        manifest = write_bundle(folder, recipe.measured(stages, exports), data, model, findings)
        write_report(folder)
        return manifest


def assist(recipe: Recipe) -> None:
    """Take this process's part in whatever the first of several ``processes``, which calls ``run``, trains.

    What stages do around their training is the first one's.

    Raises:
        BadInput: the data are others than those of the first.
    """
    data = load_data(recipe.data, recipe.seed)
    for stage, model, teacher, seed, fingerprint in processes.tasks():
        if fingerprint != data.fingerprint:
            raise BadInput(f"data.root={recipe.data.root}: other images than those of the first process; copy them")
        stage.fit(model, data, seed=seed, scratch=Path(os.devnull), teacher=teacher)
    processes.leave()
