"""Find what would stop a run before anything is trained."""

from __future__ import annotations

from math import ceil

from compress.contracts import BadInput, Division, Model
from compress.model.checkpoint import checkpoint_file, read_description
from compress.recipe.reader import Recipe
from compress.run.measured_choices import need_timers
from compress.run.recorder import require_loggers
from compress.run.rehearsal import rehearse
from validators import FORMATS
from validators.checks.retrieval_map import RetrievalMap

_LEAST_SIZE = 8
"""The smallest ``data.image_size``, in pixels per side."""


def check_recipe(recipe: Recipe, *, exports: bool = True) -> None:
    """Check what the recipe and this machine alone can tell.

    Args:
        exports: the run is to reach its exports.

    Raises:
        BadInput: a checkpoint or an option does not fit.
        MissingTool: a converter or a runtime is not installed.
    """
    if exports:
        _need_runtimes(recipe)
        _need_converters(recipe)
        need_timers([stage for _, stage in recipe.stages], recipe.exports)
    if recipe.checkpoint is not None:
        read_description(checkpoint_file(recipe.checkpoint))
    require_loggers(recipe.log)
    _check_scales(recipe)


def check_model(
    recipe: Recipe, model: Model, division: Division, *, gallery: int, leave_one_out: bool, exports: bool = True
) -> None:
    """Check the data and the network against the recipe's options.

    Args:
        model: the model that the first stage will get.
        gallery: number of gallery images.
        leave_one_out: whether the queries themselves are the gallery.
        exports: whether the run is to reach its exports.

    Raises:
        BadInput: the data, the network and the options do not fit.
        MissingTool: the gallery's index cannot be built here.
    """
    _need_training_images(recipe, len(division.train))
    for check in recipe.validation.checks:
        if isinstance(check, RetrievalMap):
            check.check_gallery(leave_one_out=leave_one_out)
    last = after_stages(recipe, model, division)
    if exports:
        _check_exports(recipe, last)
    _check_index(recipe, gallery)
    if exports:
        rehearse(recipe.exports, model)


def _need_runtimes(recipe: Recipe) -> None:
    """Raises BadInput if a format of another package has no runtime that the recipe names."""
    executed = set(FORMATS.values()).union(*(runtime.formats for runtime in recipe.validation.runtimes))
    for number, exporter in enumerate(recipe.exports):
        if exporter.format not in executed:
            raise BadInput(
                f"export.{number}.{exporter.component_name()}: no runtime executes '{exporter.format}'; name one in "
                "validate.runtimes"
            )


def _need_converters(recipe: Recipe) -> None:
    from exporters import require_converter

    for exporter in recipe.exports:
        require_converter(exporter)


def _check_scales(recipe: Recipe) -> None:
    """Raises BadInput if there is no scale, or if means of embeddings cannot be compared (only cosine allows it)."""
    scales = recipe.gallery.scales
    if not scales or len(set(scales)) < len(scales):
        raise BadInput(f"gallery.scales: {list(scales)} must hold one scale or several different ones")
    if scales != (1.0,) and recipe.distance != "cosine":
        raise BadInput(f"gallery.scales: {list(scales)} needs embeddings compared by cosine; set it as model.distance")
    height, width = (round(min(scales) * side) for side in recipe.data.size)
    if min(height, width) < _LEAST_SIZE:
        least = ceil(1000 * _LEAST_SIZE / min(recipe.data.size)) / 1000
        raise BadInput(
            f"gallery.scales: {min(scales)} leaves {height} x {width} pixels of an image; set {least} or more"
        )


def _need_training_images(recipe: Recipe, images: int) -> None:
    """Raises BadInput if something must be trained or calibrated and the data set has only test images."""
    steps = [step for step, _ in recipe.stages]
    calibrated = [f"export {e.format} {e.precision}" for e in recipe.exports if e.needs_calibration]
    if not images and (needing := [*steps, *calibrated]):
        raise BadInput(
            f"data: {recipe.data.component_name()} has no training images, which {needing[0]} needs; name some in "
            f"data.train, or remove {needing[0]}"
        )


def after_stages(recipe: Recipe, model: Model, division: Division) -> Model:
    """The model's shapes after all stages; raises BadInput if a stage's options do not fit the model it receives."""
    for step, stage in recipe.stages:
        try:
            model = stage.check(model)
            stage.check_data(division)
        except BadInput as error:
            raise BadInput(f"{step}: {error}") from error
    return model


def _check_exports(recipe: Recipe, model: Model) -> None:
    """Raises BadInput if a format cannot export the final model with a precision that the recipe names."""
    for number, exporter in enumerate(recipe.exports):
        try:
            exporter.check(model)
        except BadInput as error:
            raise BadInput(f"export.{number}.{exporter.component_name()}.{error}") from error


def _check_index(recipe: Recipe, images: int) -> None:
    """Raises BadInput if the index does not fit this number of gallery images, MissingTool if it cannot be built."""
    index, kept = recipe.gallery.index, min(images, recipe.gallery.max_images)
    if index is None:
        return
    try:
        index.check(kept)
    except BadInput as error:
        raise BadInput(f"gallery.index: {error}") from error
