"""Recipes and ``--set``: changed by value, by character, and made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures._limits import require_sane_size
from compress.contracts import BadInput
from compress.recipe.overrides import parse_yaml
from compress.recipe.reader import load_recipe
from tests._command import REPOSITORY
from tests.fuzz._guard import guarded, share
from tests.fuzz._hostile import PLAIN, VALUES, locations, replaced

SOURCES = sorted((REPOSITORY / "recipes").glob("*.yaml"))
QUICKSTART = REPOSITORY / "recipes/quickstart.yaml"
DOCUMENTS: list[Any] = [parse_yaml(path.read_text(encoding="utf-8")) for path in SOURCES]
LOCATIONS = [locations(document) for document in DOCUMENTS]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "x.yaml"


def read(file: Path, overrides: list[str] | None = None) -> None:
    """Read a recipe as far as it can be without data: every component, then the network's size."""
    recipe = load_recipe(file, overrides or [])
    size = recipe.data.image_size
    require_sane_size(recipe.architecture, 10, (size, size))


def test_the_recipes_as_they_are_pass() -> None:
    assert len(SOURCES) >= 20
    with guarded() as errors:
        read(QUICKSTART)
    assert not errors


@share(0.2)
@given(data=st.data())
def test_a_changed_value(file: Path, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(SOURCES) - 1))
    document = replaced(DOCUMENTS[number], data.draw(st.sampled_from(LOCATIONS[number])), data.draw(VALUES))
    # JSON is YAML; other than YAML's emitter, it writes each of these values.
    file.write_text(json.dumps(document), encoding="utf-8")
    with guarded():
        read(file)


@share(0.05)
@given(data=st.data())
def test_changed_characters(file: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SOURCES)).read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length, new = data.draw(st.integers(0, 20)), data.draw(st.text("[]{}:,-&*!|>'\"%@`#? \n\t0a.é\0", max_size=9))
        text = text[:start] + new + text[start + length :]
    file.write_text(text, encoding="utf-8")
    with guarded():
        read(file)


@share(0.05)
@given(content=st.binary(max_size=300))
def test_any_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with guarded() as errors:
        read(file)
    assert isinstance(errors[0], BadInput)


KEYS = sorted({".".join(map(str, location)) for location in LOCATIONS[SOURCES.index(QUICKSTART)] if location})


@share(0.1)
@given(
    key=st.one_of(st.sampled_from(KEYS), st.text("abz.0129", max_size=20)),
    value=st.one_of(PLAIN.map(str), VALUES.map(json.dumps), st.text(max_size=20)),
)
def test_an_override(key: str, value: str) -> None:
    with guarded():
        read(QUICKSTART, [f"{key}={value}"])
