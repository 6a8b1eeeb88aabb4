"""The recipes that come with the package: every header is complete, a bare name finds one, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.commands import recipes
from compress.contracts import BadInput
from compress.recipe.shipped import Header, read_header, recipe_names, recipe_path, shipped
from tests._command import REPOSITORY, compress, compress_here

RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_opens_with_a_complete_header(path: Path) -> None:
    header = read_header(path)
    assert f"compress run recipes/{path.name}" in header.command
    assert len(header.title) > 10 and len(header.duration) > 3 and len(header.hardware) > 5
    assert header.score is not None or "not measured" in header.expected
    assert not any("hardware:" in part or "#" in part for part in vars(header).values())


def test_each_part_of_a_header_is_needed(tmp_path: Path) -> None:
    whole = (
        "# A network: with details.\n# hardware: a laptop · time: 2 min (or 3)\n# expected: mAP@5/hits 0.5,\n"
        "#   on digits\n# command:  compress run recipes/x.yaml\n#           (or so)\n# More about it.\nname: x\n"
    )
    path = tmp_path / "x.yaml"
    path.write_text(whole, encoding="utf-8")
    command = "compress run recipes/x.yaml (or so)"
    header = Header("A network: with details.", "a laptop", "2 min (or 3)", "mAP@5/hits 0.5, on digits", command)
    assert read_header(path) == header
    assert (header.title, header.duration, header.score) == ("A network", "2 min", "mAP@5/hits 0.5")
    for part in ("hardware: a laptop · ", "time: 2 min (or 3)", "expected: mAP@5/hits 0.5,", "command:"):
        path.write_text(whole.replace(part, ""), encoding="utf-8")
        with pytest.raises(BadInput, match=f"x.yaml: .* '{part.split(':')[0]}:'"):
            read_header(path)


@pytest.mark.parametrize(
    ("time", "expected", "conditional"),
    [
        ("14 min for --set train.epochs=8", "mAP 0.3", True),
        ("10 min", "mAP 0.4 after that; the settings below are not measured", True),
        ("10 min (--set data.download=true downloads them)", "mAP 0.4 (0.3 for --set model.dim=128)", False),
    ],
)
def test_scores_of_other_settings_are_marked(time: str, expected: str, conditional: bool) -> None:
    assert Header("A network.", "a laptop", time, expected, "compress run x").conditional is conditional


def test_the_list_has_a_line_for_every_recipe() -> None:
    ended = compress_here("recipes")
    assert ended.code == 0, ended.stderr
    listed = {line.split()[0]: line for line in ended.stdout.splitlines()}
    assert recipe_names() == [path.stem for path in RECIPES]
    assert set(recipe_names()) <= listed.keys()
    for part in ("mAP 0.850", "2 min", "any laptop", "real MNIST digits"):
        assert part in listed["quickstart"]
    assert "*" in listed["alnet_cifar10"] and "*" not in listed["quickstart"]
    assert "not measured" in listed["alnet_svhn"]


def test_a_name_prints_its_file() -> None:
    ended = compress_here("recipes", "quickstart")
    assert ended.stdout == (REPOSITORY / "recipes/quickstart.yaml").read_text(encoding="utf-8")


def test_a_bare_name_is_a_recipe_of_the_package_unless_it_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_path(Path("quickstart")) == REPOSITORY / "recipes/quickstart.yaml"
    (tmp_path / "quickstart").write_text("name: mine\n", encoding="utf-8")
    assert recipe_path(Path("quickstart")) == Path("quickstart")
    assert recipe_path(Path("mine.yaml")) == Path("mine.yaml")  # the reader says that there is no such file


@pytest.mark.nightly
def test_from_an_empty_folder_a_recipe_runs_by_its_name(tmp_path: Path) -> None:
    planned = compress("run", "quickstart", "--dry-run", folder=tmp_path)
    assert planned.code == 0, planned.stderr
    assert planned.stdout.startswith("data: digits, ")
    for wrong, words in (("quikstart", "did you mean 'quickstart'?"), ("recipes/quickstart.yaml", "path: quickstart")):
        ended = compress("run", wrong, "--dry-run", folder=tmp_path)
        assert ended.code == 2
        assert wrong in ended.complaint and words in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_recipes_samples_and_schema_are_copied_into_a_new_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert len(recipes.copy(folder)) == 3
    assert sorted(path.name for path in (folder / "recipes").iterdir()) == [path.name for path in RECIPES]
    assert (folder / "examples/python/check_bundle.py").is_file()
    assert '"Compress recipe"' in (folder / "recipe.schema.json").read_text(encoding="utf-8")
    with pytest.raises(BadInput, match="not an empty folder"):
        recipes.copy(folder)
    assert shipped("recipes").is_dir()
    ended = compress_here("recipes", "quickstart", "--copy", folder)
    assert ended.code == 2 and "remove quickstart" in ended.complaint
