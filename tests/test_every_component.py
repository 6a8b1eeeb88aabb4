"""Every component of every folder is met by a test: a new file without one fails here."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import pytest

from compress import plugins
from compress.contracts import Component, Dataset, Stage
from tests._command import REPOSITORY
from tests._components import every, made_up
from tests.test_imports import imported

FOUND_BY_THE_REGISTRY = {
    "Architecture": "tests/architectures/test_models.py",
    "Check": "tests/validators/test_every_check.py",
    "Exporter": "tests/exporters/test_every_format.py",
    "Index": "tests/indexes/test_indexes.py",
    "Loss": "tests/losses/test_every_loss.py",
    "Objective": "tests/losses/test_every_loss.py",
    "Runtime": "tests/validators/test_runtimes.py",
}
"""Base class -> the test that takes its components from the registry, so that a new one is tested on arrival."""

TESTED_ONE_BY_ONE: dict[type[Component], str] = {Dataset: "tests/datasets", Stage: "tests/stages"}
"""Base class -> the folder whose tests import each component: what it reads or does differs too much for one test."""


def untested() -> list[str]:
    """The components that no test in the folder of their base class imports."""
    missing = []
    for base, folder in TESTED_ONE_BY_ONE.items():
        files = (REPOSITORY / folder).glob("test_*.py")
        used = set().union(*(imported(ast.parse(file.read_text(encoding="utf-8"))) for file in files))
        missing += [each.__module__ for each in every(base) if each.__module__ not in used]
    return missing


def test_every_kind_of_component_has_its_test() -> None:
    kinds = {base.__name__ for base in plugins.FOLDERS}
    assert kinds == FOUND_BY_THE_REGISTRY.keys() | {base.__name__ for base in TESTED_ONE_BY_ONE}
    assert len(kinds) == 9
    for file in set(FOUND_BY_THE_REGISTRY.values()):
        assert (REPOSITORY / file).is_file(), file


def test_every_data_set_and_stage_has_a_test() -> None:
    assert len(every(Dataset)) >= 16
    assert len(every(Stage)) >= 7
    assert not untested()


@pytest.mark.parametrize("base", [Dataset, Stage])
def test_one_without_a_test_is_found(base: type[Component], monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class MadeUp(base):  # type: ignore[misc, valid-type]
        pass

    made_up(monkeypatch, base, MadeUp)
    assert untested() == [f"{plugins.FOLDERS[base]}.made_up"]
