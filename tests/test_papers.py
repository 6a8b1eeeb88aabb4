"""What recipes and docs/papers.md say about the papers' own set-ups is read from there and planned."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from compress.cli import app
from compress.contracts import BadInput
from compress.recipe.reader import load_recipe
from compress.run.plan import plan
from tests._command import REPOSITORY, compress_here

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


def parsed(command: str) -> dict[str, Any]:
    """The arguments of a command line that starts with ``compress run``, as the command line itself takes them."""
    program, verb, *words = shlex.split(command)
    assert program == "compress"
    return dict(cast(Any, typer.main.get_command(app)).commands[verb].make_context(verb, words).params)


PAGE = (REPOSITORY / "docs/papers.md").read_text(encoding="utf-8")
RECIPES_ALIKE = {
    name: [Path(f"recipes/alnet_{data}.yaml") for data in ("sun397", "oxbuild5k", "paris6k")]
    for name in ("alnet_svhn", "alnet_sun397", "alnet_oxbuild5k", "alnet_paris6k")
}
"""Recipes that take the same networks: a network that one of them takes is not tried with the others."""
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("compress run ")]


def test_every_command_of_the_page_parses_and_its_recipe_loads() -> None:
    """A recipe is loaded again only for a command that brings a setting it has not been loaded with."""
    tried: set[tuple[Path, str]] = set()
    for command in COMMANDS:
        given = parsed(command)
        new = {(given["recipe"], change) for change in given["set_"]} - tried
        if new:
            assert load_recipe(REPOSITORY / given["recipe"], given["set_"]).exports, command
        tried |= new | {(other, change) for _, change in new for other in RECIPES_ALIKE.get(given["recipe"].stem, ())}
    assert len(tried) > 60


def test_the_page_has_every_table_and_no_empty_cell() -> None:
    assert len(COMMANDS) > 40
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(rows) > 60
    assert all(cell.strip() for row in rows for cell in row)
    for paper, tables in {
        "OMCBIR": range(2, 8),
        "MobileNet deep hashing": [3],
        "report": [1, 2],
        "fusion": [1, 2],
    }.items():
        part = next(part for part in PAGE.split("\n## ")[1:] if paper in part.splitlines()[0])
        assert re.findall(r"^### Table (\d)", part, re.MULTILINE) == [str(number) for number in tables]


def test_a_command_that_does_not_load_is_found() -> None:
    given = parsed("compress run recipes/deep_hash_places.yaml --set model.bitz=16")
    with pytest.raises(BadInput, match="bitz"):
        load_recipe(REPOSITORY / given["recipe"], given["set_"])
    with pytest.raises(Exception, match="no-such-option"):
        parsed("compress run recipes/deep_hash_places.yaml --no-such-option")


FEW = "epochs: 6, batch_size: 8, lr: 0.02, schedule: one_cycle"
SMALL = {
    "sir_oxford5k": ["model.trunk.resnet={depth: 18}", "data.image_size=64", f"train={{{FEW}}}"],
    "gem_oxford5k": [
        "model={architecture: gem, trunk: {resnet: {depth: 18}}, dim: 512, sizes: [64, 32]}",
        "data.image_size=64",
        f"compress.0.mined_pairs={{{FEW}, negatives: 2, freeze: [projection], margin: 0.85}}",
    ],
    "delf_oxford5k": [
        "model={architecture: delf, trunk: {resnet: {depth: 18}}, sizes: [96, 64], hidden: 16}",
        "data.image_size=96",
        f"train={{{FEW}}}",
        f"compress.0.delf={{{FEW}}}",
    ],
    "deep_hash_places": ["data.image_size=32", f"train={{{FEW}}}"],
    "deep_hash_paper_cifar10": ["data={dataset: image_folder, image_size: 32}", f"train={{{FEW}}}"],
}
"""Recipe -> the settings of a run in a minute on made-up photographs, from random weights."""


@pytest.fixture(scope="module")
def buildings(tmp_path_factory: pytest.TempPathFactory, save_photos: Callable[..., list[Path]]) -> Path:
    """Oxford5k in small, and photographs of four places as CLASS/, query/ and database/."""
    root = tmp_path_factory.mktemp("buildings")
    for label, landmark in enumerate(("keble", "jesus", "oriel")):
        save_photos(root / "oxford", label, 8, name=f"{landmark}_{{:06d}}.jpg")
        for part, numbers in {"good": (0, 1, 2), "ok": (3,), "junk": (4,)}.items():
            text = "".join(f"{landmark}_{number:06d}\n" for number in numbers)
            (root / f"oxford/{landmark}_1_{part}.txt").write_text(text, encoding="utf-8")
        (root / f"oxford/{landmark}_1_query.txt").write_text(f"oxc1_{landmark}_000000 4 4 60 44\n", encoding="utf-8")
    for label in range(4, 8):
        for folder, first, count in (("others", 0, 12), ("query", 12, 4), ("database", 16, 12)):
            save_photos(root / folder / f"place {label}", label, count, first=first)
    return root


@pytest.mark.nightly
@pytest.mark.parametrize("name", SMALL)
def test_a_small_run_of_each_recipe(name: str, buildings: Path, tmp_path: Path) -> None:
    data = {"deep_hash_places": buildings, "deep_hash_paper_cifar10": buildings / "others"}
    changes = [*SMALL[name], f"data.root={data.get(name, buildings / 'oxford')}", "export=[{onnx: {}}]"]
    if name not in data:
        changes += [f"data.train={buildings / 'others'}", "data.validation_share=0.5"]
    arguments = [word for change in changes for word in ("--set", change)]
    ended = compress_here("run", REPOSITORY / f"recipes/{name}.yaml", "--out", tmp_path / "out", *arguments)
    assert (tmp_path / "out/bundle.json").is_file(), ended.stderr
    manifest = json.loads((tmp_path / "out/bundle.json").read_text(encoding="utf-8"))
    (artifact,) = manifest["artifacts"]
    assert abs(artifact["retrieval"]["mAP_drop"]) < 1e-3
    assert 0 < manifest["source"]["mAP"] <= 1
    assert manifest["architecture"]["paper_params"] > 0
