"""A recipe may start from the folder of a finished run: from the weights of its last step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compress.contracts import BadInput
from compress.model.checkpoint import last_checkpoint, load_model
from compress.model.start import initial_model
from compress.recipe.reader import load_recipe
from compress.run.plan import plan
from tests.conftest import Finished


def test_a_folder_stands_for_its_last_checkpoint(finished: Finished, tmp_path: Path) -> None:
    changes = ["train=null", f"data.root={finished.recipe.parent / 'photos'}"]
    recipe = load_recipe(finished.recipe, [f"model.checkpoint={finished.folder}", *changes])
    assert recipe.stages == () and plan(recipe)
    stored = load_model(last_checkpoint(finished.folder))
    started = initial_model(recipe, stored.classes, stored.preprocess)
    own, other = started.network.state_dict(), stored.network.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
    with pytest.raises(BadInput, match="no finished run"):
        plan(load_recipe(finished.recipe, [f"model.checkpoint={tmp_path}", *changes]))
