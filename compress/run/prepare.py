"""Check everything that can stop a run before anything is trained: recipe, machine, data and network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compress.contracts import Data, Model
from compress.data.dataset_warnings import remarks
from compress.data.load import load_data
from compress.model.start import initial_model
from compress.recipe.reader import Recipe
from compress.run.preflight import check_model, check_recipe
from compress.run.workspace import Workspace
from compress.system.progress import say


@dataclass(frozen=True)
class Start:
    """Everything a run starts from; ``work`` is claimed, but not yet entered."""

    work: Workspace
    data: Data
    model: Model


def prepare(recipe: Recipe, folder: Path, until: str, *, fresh: bool) -> Start | None:
    """Check and load what ``recipe`` names; None if the run is to stop after its data.

    Raises:
        BadInput, MissingTool: something would stop the run later.
    """
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
    check_model(
        recipe, model, data.division, gallery=len(data.gallery), leave_one_out=data.leave_one_out, exports=exporting
    )
    return Start(work, data, model)
