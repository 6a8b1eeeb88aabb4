"""Components as the registry finds them, and made-up ones for tests that show a guard working."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TypeVar

import pytest

from compress import plugins
from compress.contracts import Component

C = TypeVar("C", bound=Component)


def every(base: type[C]) -> list[type[C]]:
    """The classes of all components of a base class, in the order of their names."""
    return [plugins.find(base, name) for name in plugins.names(base)]


def made_up(patch: pytest.MonkeyPatch, base: type[C], component: type[C]) -> None:
    """Let the registry find ``component`` as if it were the file ``made_up.py`` in the folder of its base class."""
    module = ModuleType(f"{plugins.FOLDERS[base]}.made_up")
    names_there = vars(sys.modules[component.__module__])  # by which its annotations are understood
    vars(module).update({**names_there, "__name__": module.__name__, component.__name__: component})
    patch.setattr(component, "__module__", module.__name__)
    patch.setitem(sys.modules, module.__name__, module)
    names = plugins.names
    patch.setattr(plugins, "names", lambda each: [*names(each), "made_up"] if each is base else names(each))
