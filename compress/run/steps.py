"""The steps of a run: every stage of training and compression, every exported file. Finished steps are reused."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.bundle.golden import choose_probes
from compress.contracts import Artifact, Data, Exporter, HeldOut, Model, SharingStage, Stage, UpgradingStage
from compress.data.calibration import calibration_images
from compress.model.checkpoint import load_model, save_model
from compress.model.identity import model_sha256, space_id
from compress.recipe.reader import Recipe
from compress.run.measured_choices import measured_export, measured_stage
from compress.run.workspace import Workspace, code_key
from compress.system import environment
from compress.system.progress import say

GOLDEN_IMAGES = 64


def train(
    work: Workspace, recipe: Recipe, model: Model, data: Data, until: str
) -> tuple[Model, list[tuple[str, Stage]]] | None:
    """Run every stage: the model, and the stages with what they measured; None if ``until`` names one of them."""
    if not recipe.stages:
        save_model(model, work.folder / "checkpoints" / "initial.safetensors")
    stages = []
    for step, stage in recipe.stages:
        stages.append((step, measured_stage(work, step, stage, model, data)))
        model = _run_stage(work, *stages[-1], model, data, recipe.seed)
        if until == step:
            return None
    return model, stages


def export_all(work: Workspace, recipe: Recipe, model: Model, data: Data) -> list[tuple[Artifact, Exporter]]:
    """Export every artifact of the recipe; each comes with its exporter, which holds what it measured."""
    return [_export(work, exporter, model, recipe, data) for exporter in recipe.exports]


def held_out_of(data: Data, recipe: Recipe) -> tuple[HeldOut, np.ndarray, list[str]]:
    """The images with which artifacts are checked, and the labels, int64 [P], and names of their P probes."""
    probes, labels, ids = choose_probes(data.queries, GOLDEN_IMAGES, recipe.seed)
    return HeldOut(data.queries, data.gallery, probes, data.ground_truths, recipe.gallery.scales), labels, ids


def teacher_of(recipe: Recipe, model: Model) -> Model | None:
    """The teacher whose embedding space ``model`` shares, if a stage names one; otherwise None."""
    named = [stage.space_of() for _, stage in recipe.stages if isinstance(stage, SharingStage)]
    return next((found for found in reversed(named) if found is not None and model.space == space_id(found)), None)


def old_of(recipe: Recipe) -> Model | None:
    """The older model whose galleries the model is to search, if a stage names one; otherwise None."""
    named = [stage.old_model() for _, stage in recipe.stages if isinstance(stage, UpgradingStage)]
    return next((found for found in reversed(named) if found is not None), None)


def _run_stage(work: Workspace, step: str, stage: Stage, model: Model, data: Data, seed: int) -> Model:
    """Run the stage on ``model``; the result is read back from its checkpoint."""
    output = work.folder / "checkpoints" / f"{step}.safetensors"
    key = {
        "stage": stage.component_name(),
        "options": stage.options(),
        "model": model_sha256(model),
        "data": data.fingerprint,
        "seed": seed,
        "versions": environment.versions(["torch", "lightning-fabric"]),
        **stage.inputs(),
        **code_key(stage),
    }

    def build(scratch: Path) -> None:
        save_model(stage.run(model, data, seed=seed, scratch=scratch), output)

    work.reuse(step, key, [output], build)
    return load_model(output)


def _export(work: Workspace, exporter: Exporter, model: Model, recipe: Recipe, data: Data) -> tuple[Artifact, Exporter]:
    """Export an artifact; returns it and the exporter, which holds what it measured."""
    from exporters import deploy

    images = calibration_images(exporter, data.train, recipe.seed, data.unlabelled)
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
        **code_key(exporter),
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
