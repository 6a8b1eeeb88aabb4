"""The whole story: a recipe becomes a trained model, exported artifacts, checked artifacts and a bundle."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress import environment, processes
from compress.assess import Assessor, chosen_runtimes
from compress.bundle import write_bundle
from compress.calibration import calibration_images
from compress.checkpoint import load_model, save_model
from compress.contracts import Artifact, BadInput, Data, Exporter, HeldOut, Model, Preprocess, Stage
from compress.data import load_data
from compress.golden import choose_probes, make_golden, write_golden
from compress.measuring import measured_export, measured_stage
from compress.model import initial_model, model_sha256, space_id
from compress.preflight import check_model, check_recipe
from compress.progress import say
from compress.recipe import Recipe
from compress.reference import embed
from compress.report import write_report
from compress.workspace import Workspace

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
    if until == "data":
        return None
    model = initial_model(recipe, data.classes, data.preprocess, only_tests=not len(data.train))
    check_model(recipe, model, training=len(data.train), gallery=len(data.gallery), exports=exporting)
    # Entered only now, so that data or a checkpoint that cannot be used leaves no folder behind.
    with work:
        if not recipe.stages:
            save_model(model, folder / "checkpoints" / "initial.safetensors")
        stages, exports = [], []
        for step, stage in recipe.stages:
            stages.append((step, measured_stage(work, step, stage, model, data)))
            model = _run_stage(work, *stages[-1], model, data, recipe.seed)
            if until == step:
                return None
        artifacts = []
        for exporter in recipe.exports:
            artifact, chosen = _export(work, exporter, model, recipe, data)
            artifacts.append(artifact)
            exports.append(chosen)
        if until == "export":
            return None
        probes, labels, ids = choose_probes(data.queries, GOLDEN_IMAGES, recipe.seed)
        held_out = HeldOut(data.queries, data.gallery, probes, data.ground_truths, recipe.gallery.scales)
        assessor = Assessor(work, recipe.validation, model, held_out, data.fingerprint, _teacher(recipe, model))
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


def plan(recipe: Recipe) -> list[str]:
    """What ``run`` would do, one line per step, after finding the data and building the network.

    Raises:
        BadInput, MissingTool: what would stop the run before its last step.
    """
    from architectures import complexity

    check_recipe(recipe)
    splits = recipe.data.splits(recipe.seed)
    size = (recipe.data.image_size, recipe.data.image_size)
    preprocess = Preprocess(size, recipe.data.crop, recipe.data.mean, recipe.data.std)
    model = initial_model(recipe, splits.classes, preprocess, only_tests=not len(splits.train))
    check_model(recipe, model, training=len(splits.train), gallery=len(splits.gallery or splits.test))
    counts = f"{len(splits.train):,} training and {len(splits.test):,} test images, {len(splits.classes)} classes"
    if splits.gallery is not None:
        counts += f", a gallery of {len(splits.gallery):,}"
    sizes = complexity(model.network, size)
    name = model.architecture.component_name()
    return [
        f"data: {recipe.data.component_name()}, {counts}",
        f"model: {name}, {sizes.params:,} parameters, {sizes.macs:,} MACs, {model.embedding.dim}-d embedding",
        *(f"{step}: {json.dumps(stage.options())}" for step, stage in recipe.stages),
        *(f"export: {exporter.component_name()} {exporter.precision}" for exporter in recipe.exports),
        *(_execution(recipe, file_format) for file_format in dict.fromkeys(e.format for e in recipe.exports)),
        *([f"gallery: {json.dumps(recipe.gallery.options()['index'])}"] if recipe.gallery.index else []),
    ]


def _execution(recipe: Recipe, file_format: str) -> str:
    runtimes = chosen_runtimes(recipe.validation, file_format)
    where = [f"{r.component_name()} ({r.unavailable() or r.evidence})" for r in runtimes]
    return f"validate: {file_format} on {', '.join(where)}"


def _teacher(recipe: Recipe, model: Model) -> Model | None:
    """The model in whose embedding space ``model`` lives, if that is not its own and a stage names it."""
    named = [stage.space_of() for _, stage in recipe.stages]
    return next((found for found in reversed(named) if found is not None and model.space == space_id(found)), None)


def _run_stage(work: Workspace, step: str, stage: Stage, model: Model, data: Data, seed: int) -> Model:
    output = work.folder / "checkpoints" / f"{step}.safetensors"
    key = {
        "stage": stage.component_name(),
        "options": stage.options(),
        "model": model_sha256(model),
        "data": data.fingerprint,
        "seed": seed,
        "versions": environment.versions(["torch", "lightning-fabric"]),
        **stage.inputs(),
    }

    def build(scratch: Path) -> None:
        save_model(stage.run(model, data, seed=seed, scratch=scratch), output)

    work.reuse(step, key, [output], build)
    return load_model(output)


def _export(work: Workspace, exporter: Exporter, model: Model, recipe: Recipe, data: Data) -> tuple[Artifact, Exporter]:
    """The artifact, and the exporter with what it measured."""
    from exporters import deploy

    images = calibration_images(exporter, data.train, recipe.seed)
    calibration = {}
    if images is not None:
        calibration["calibration"] = {"images": len(images), "sha256": hashlib.sha256(images.tobytes()).hexdigest()}
    output = work.folder / "artifacts" / f"{recipe.name}.{exporter.precision}{exporter.suffix}"
    key = {
        "exporter": exporter.component_name(),
        "options": exporter.options(),
        "model": model_sha256(model),
        "preprocess": asdict(model.preprocess),
        "embedding": asdict(model.embedding),
        "name": recipe.name,
        "license": recipe.license,
        "versions": environment.versions(["torch", *exporter.requires]),
        **calibration,
    }

    graph = deploy(model, name=recipe.name, license=recipe.license, calibration=images)
    exporter = measured_export(work, exporter, graph, output.name, key)

    def build(scratch: Path) -> Any:
        say(f"export: {output.name}")
        output.parent.mkdir(exist_ok=True)
        exporter.write(graph, output)
        return exporter.details(output)

    details = work.reuse(f"export-{output.name}", {**key, "options": exporter.options()}, [output], build)
    plan = {"plan": exporter.plan} if exporter.plan is not None else {}
    return Artifact(output, exporter.format, exporter.precision, {**details, **plan, **calibration}), exporter
