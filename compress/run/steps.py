"""The steps of a run: every stage of training and compression, every exported file. Finished ones are reused."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.bundle.golden import choose_probes
from compress.contracts import Artifact, Data, Exporter, HeldOut, Model, SharingStage, Stage
from compress.data.calibration import calibration_images
from compress.model.checkpoint import load_model, save_model
from compress.model.identity import model_sha256, space_id
from compress.recipe.reader import Recipe
from compress.run.measured_choices import measured_export, measured_stage
from compress.run.workspace import Workspace
from compress.system import environment
from compress.system.progress import say

GOLDEN_IMAGES = 64


def train(
    work: Workspace, recipe: Recipe, model: Model, data: Data, until: str
) -> tuple[Model, list[tuple[str, Stage]]] | None:
    """The model after every stage, and the stages with what they measured; None where ``until`` names one of them."""
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
    """Every artifact of the recipe, each with its exporter and what that measured."""
    return [_export(work, exporter, model, recipe, data) for exporter in recipe.exports]


def held_out_of(data: Data, recipe: Recipe) -> tuple[HeldOut, np.ndarray, list[str]]:
    """What artifacts are checked with, and the labels, int64 [P], and names of its P probes."""
    probes, labels, ids = choose_probes(data.queries, GOLDEN_IMAGES, recipe.seed)
    return HeldOut(data.queries, data.gallery, probes, data.ground_truths, recipe.gallery.scales), labels, ids


def teacher_of(recipe: Recipe, model: Model) -> Model | None:
    """The model in whose embedding space ``model`` lives, if that is not its own and a stage names it."""
    named = [stage.space_of() for _, stage in recipe.stages if isinstance(stage, SharingStage)]
    return next((found for found in reversed(named) if found is not None and model.space == space_id(found)), None)


def _run_stage(work: Workspace, step: str, stage: Stage, model: Model, data: Data, seed: int) -> Model:
    """The model that the stage makes of ``model``, read back from its checkpoint."""
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
