"""Pages that are read in the repository: their links lead somewhere, and the result tables have their places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.results import TABLES, replaced
from tests._command import REPOSITORY

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


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_written_where_it_stands(name: str) -> None:
    text = (REPOSITORY / TABLES[name][0]).read_text(encoding="utf-8")
    old = text.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0].splitlines()
    assert len(old) > 4
    assert replaced(text, name, old) == text
    assert f"<!-- {name} -->\n| new |\n<!-- /{name} -->" in replaced(text, name, ["| new |"])
