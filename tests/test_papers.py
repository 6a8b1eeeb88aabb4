"""What recipes and docs/papers.md say about the papers' own set-ups is read from there and planned."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.recipe.reader import load_recipe
from compress.run.plan import plan
from tests._command import REPOSITORY

TREES = {
    "alnet_sun397": ("SUN397/{0}/{0}", "{{:06d}}.jpg"),
    "alnet_oxbuild5k": ("oxbuild_images", "{0}_{{:06d}}.jpg"),
    "alnet_paris6k": ("paris/{0}", "paris_{0}_{{:06d}}.jpg"),
}
"""Recipe -> folder and file names of a small tree like its data set."""


def settings(text: str) -> list[str]:
    """The KEY=VALUE of every --set in a comment or a command."""
    words = shlex.split(text)
    return [word for flag, word in itertools.pairwise(words) if flag == "--set"]


def macs(planned: str) -> int:
    found = re.search(r"([\d,]+) MACs, ", planned)
    assert found is not None
    return int(found[1].replace(",", ""))


@pytest.mark.parametrize("name", TREES)
def test_the_papers_set_up_is_one_line_away(name: str, tmp_path: Path, save_photos: Callable[..., list[Path]]) -> None:
    folder, file = TREES[name]
    for label, place in enumerate("abc"):
        save_photos(tmp_path / folder.format(place), label, 10, name=file.format(place))
    path = REPOSITORY / f"recipes/{name}.yaml"
    line = next(line for line in path.read_text(encoding="utf-8").splitlines() if "The paper's set-up:" in line)
    overrides = settings(re.sub(r"^#.*?set-up:", "", line))
    ours, papers = (load_recipe(path, [f"data.root={tmp_path}", *more]) for more in ([], overrides))
    for recipe, stride, crop, flip in ((ours, 2, "none", True), (papers, 1, "center", False)):
        assert recipe.resolved["model"]["stem_stride"] == stride
        assert recipe.resolved["data"]["crop"] == crop
        assert recipe.resolved["train"]["horizontal_flip"] is flip
    phone, published = "\n".join(plan(ours)), "\n".join(plan(papers))
    assert 3.5 < macs(published) / macs(phone) < 4.5
    assert "parameters (Eq. 6)" in published and "FLOPs (Eq. 5)" in published
