"""A whole run: a recipe becomes a trained model, exported artifacts, checked artifacts and a bundle."""

from __future__ import annotations

import os
from pathlib import Path

from compress.bundle.golden import make_golden, write_golden
from compress.bundle.manifest import Manifest
from compress.bundle.write import Findings, write_bundle
from compress.contracts import BadInput
from compress.data.load import load_data
from compress.model.reference import embed
from compress.recipe.reader import Recipe
from compress.report import write_report
from compress.run import gallery
from compress.run.check_artifact import check
from compress.run.check_context import CheckContext
from compress.run.compatibility import matrix
from compress.run.controls import broken_outputs, controls
from compress.run.learning_check import require_learned
from compress.run.photographs import photographs_of, with_photos
from compress.run.prepare import prepare
from compress.run.rankings import write_rankings
from compress.run.recorder import recording
from compress.run.steps import export_all, held_out_of, old_of, teacher_of, train
from compress.run.upgrade import judge as judge_upgrade
from compress.system import processes


def run(recipe: Recipe, folder: Path, *, until: str | None = None, fresh: bool = False) -> Manifest | None:
    """Run every step of ``recipe`` in ``folder``; finished steps are reused.

    Args:
        until: stop after this step of ``recipe.steps``; then no bundle is written.
        fresh: rerun finished steps.

    Returns:
        The manifest as ``folder/bundle.json`` holds it, or None when ``until`` stopped earlier.
    """
    until = until or recipe.steps[-1]
    start = prepare(recipe, folder, until, fresh=fresh)
    if start is None:
        return None
    data, model = start.data, start.model
    # Entered only now, so that no folder remains if the data or the checkpoint cannot be used.
    with start.work as work:
        with recording(folder, recipe):
            trained = train(work, recipe, model, data, until)
        if trained is None:
            return None
        model, stages = trained
        held_out, labels, ids = held_out_of(data, recipe)
        context = CheckContext(work, recipe.validation, model, held_out, data.fingerprint, photographs_of(recipe, data))
        require_learned(context)
        exported = export_all(work, recipe, model, data)
        if until == "export":
            return None
        artifacts = [artifact for artifact, _ in exported]
        index = gallery.write(context, recipe.gallery, recipe.name)
        probes, broken = held_out.probes, broken_outputs(model, held_out.probes, recipe.seed)
        golden = make_golden(probes, labels, ids, embed(model, probes), index, data.leave_one_out, broken)
        golden = with_photos(golden, folder / "golden", recipe, model.preprocess)
        write_golden(folder / "golden", golden, model.classes, index, recipe.data.images_license or recipe.license)
        checked = [check(context, artifact, golden, index) for artifact in artifacts]
        old = old_of(recipe)
        pairs = matrix(context, checked, teacher_of(recipe, model), old)
        findings = Findings(
            context.source(),
            tuple(each.entry for each in checked),
            gallery.describe(context, recipe.gallery.index, index, recipe.seed),
            controls(context, artifacts, golden),
            pairs,
            judge_upgrade(context, checked, pairs, old),
        )
        write_rankings(context, checked, index, recipe.gallery.thumbnail)
        done = recipe.measured(stages, [exporter for _, exporter in exported])
        manifest = write_bundle(folder, done, data, model, findings)
        write_report(folder)
        return manifest


def assist(recipe: Recipe) -> None:
    """Take part in every training of the first process, which calls ``run``; the others call this function.

    Everything else that stages do is done by the first process alone.

    Raises:
        BadInput: the data differ from those of the first process.
    """
    data = load_data(recipe.data, recipe.seed)
    for task, fingerprint in processes.tasks():
        if fingerprint != data.fingerprint:
            raise BadInput(f"data.root={recipe.data.root}: other images than those of the first process; copy them")
        task(data=data, scratch=Path(os.devnull))
    processes.leave()
