"""``--dry-run``: check everything that could stop a run, then list its steps."""

from __future__ import annotations

import json

from compress.contracts import Preprocess
from compress.data.dataset_warnings import remarks
from compress.data.hold_out import divided
from compress.data.relevance import need_answers
from compress.model.start import initial_model
from compress.recipe.reader import Recipe
from compress.run.check_artifact import chosen_runtimes
from compress.run.preflight import check_model, check_recipe


def plan(recipe: Recipe) -> list[str]:
    """Find the data, build the network and list what ``pipeline.run`` would do, one line per step.

    Raises:
        BadInput, MissingTool: something would stop the run before its last step.
    """
    from architectures import complexity

    check_recipe(recipe)
    splits = recipe.data.splits(recipe.seed)
    searched = None if splits.gallery is None else splits.gallery.labels
    need_answers(recipe.data, splits.train.labels, splits.test.labels, searched, splits.ground_truths)
    size = recipe.data.size
    preprocess = Preprocess(size, recipe.data.crop, recipe.data.mean, recipe.data.std)
    model = initial_model(recipe, splits.classes, preprocess, only_tests=not len(splits.train))
    check_model(
        recipe,
        model,
        divided(recipe.data, splits, recipe.seed),
        gallery=len(splits.gallery or splits.test),
        leave_one_out=splits.gallery is None,
    )
    counts = f"{len(splits.train):,} training and {len(splits.test):,} test images, {len(splits.classes)} classes"
    if splits.gallery is not None:
        counts += f", a gallery of {len(splits.gallery):,}"
    sizes = complexity(model.network, size)
    name = model.architecture.component_name()
    return [
        f"data: {recipe.data.component_name()}, {counts}",
        *remarks(splits),
        f"model: {name}, {sizes.params:,} parameters, {sizes.macs:,} MACs, {model.embedding.dim}-d embedding",
        f"model, as OMCBIR counts: {sizes.paper_params:,} parameters (Eq. 6), {sizes.paper_flops:,} FLOPs (Eq. 5), "
        f"{sizes.macs_with_batch_norm:,} MACs with batch normalisation",
        *(f"{step}: {json.dumps(stage.options())}" for step, stage in recipe.stages),
        *(f"export: {exporter.component_name()} {exporter.precision}" for exporter in recipe.exports),
        *(_execution(recipe, file_format) for file_format in dict.fromkeys(e.format for e in recipe.exports)),
        *([f"gallery: {json.dumps(recipe.gallery.options()['index'])}"] if recipe.gallery.index else []),
    ]


def _execution(recipe: Recipe, file_format: str) -> str:
    runtimes = chosen_runtimes(recipe.validation, file_format)
    where = [f"{r.component_name()} ({r.unavailable() or r.evidence()})" for r in runtimes]
    return f"validate: {file_format} on {', '.join(where)}"
