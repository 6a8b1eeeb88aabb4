"""Pages that are read in the repository: links lead to files, the map is the tree, result tables have a location."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.results import TABLES, replaced
from compress import plugins
from tests._command import REPOSITORY
from tests.test_imports import ORDER, PACKAGES

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")


def missing_links(page: Path) -> tuple[int, list[str]]:
    """How many links to files ``page`` has, and those whose file is not there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return len(links), [link for link in links if not (page.parent / link).exists()]


def test_links_lead_to_files() -> None:
    found = {page: missing_links(REPOSITORY / page) for page in PAGES}
    assert not {page: missing for page, (_, missing) in found.items() if missing}
    assert found["README.md"][0] >= 20


def test_control_a_link_to_no_file_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[here](page.md#top), [gone](docs/gone.md), [web](https://example.com)", encoding="utf-8")
    assert missing_links(page) == (2, ["docs/gone.md"])


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_bytes()) <= 10_000


def blocks(page: str) -> list[str]:
    return re.findall(r"```\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), re.DOTALL)


def mapped(block: str) -> set[str]:
    """The paths in a map of two levels: ``folder/`` at the margin, what is in it two spaces further in."""
    paths, folder = set(), ""
    for line in block.splitlines():
        name = line.split()[0]
        folder = name if not line.startswith(" ") else folder
        paths.add(name if name == folder else folder + name)
    return paths


def test_the_map_names_every_room_and_nothing_else() -> None:
    (block,) = [each for each in blocks("CONTRIBUTING.md") if "pipeline.py" in each]
    named = mapped(block)
    assert not {path for path in named if not (REPOSITORY / path).exists()}
    rooms = [path for path in (REPOSITORY / "compress").iterdir() if path.name[0] not in "._"]
    rooms += [REPOSITORY / package for package in PACKAGES]
    expected = {f"{path.relative_to(REPOSITORY)}{'/' if path.is_dir() else ''}" for path in rooms}
    assert len(expected) > 20
    assert not expected - named


def test_the_written_order_of_imports_is_the_enforced_one() -> None:
    (block,) = [each for each in blocks("CONTRIBUTING.md") if each.startswith("compress.contracts\n")]
    assert tuple(tuple(line.split(", ")) for line in block.splitlines()) == ORDER


def test_the_places_to_touch_exist() -> None:
    guide = (
        (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a component")[1].split("\n## ")[0]
    )
    paths = [REPOSITORY / path for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", guide)]
    assert len(paths) >= 15
    assert not [path for path in paths if not (path.parent if "NAME" in path.name else path).exists()]
    assert not [base.__name__ for base in plugins.FOLDERS if f"`{base.__name__}`" not in guide]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_written_where_it_stands(name: str) -> None:
    text = (REPOSITORY / TABLES[name][0]).read_text(encoding="utf-8")
    old = text.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0].splitlines()
    assert len(old) > 4
    assert replaced(text, name, old) == text
    assert f"<!-- {name} -->\n| new |\n<!-- /{name} -->" in replaced(text, name, ["| new |"])
