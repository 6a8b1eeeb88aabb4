"""Find component classes by name. The folder is the registry: ``<folder>/<name>.py`` holds exactly one component."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from compress import contracts
from compress.contracts import BadInput, Component, MissingTool

C = TypeVar("C", bound=Component)

FOLDERS: dict[type[Component], str] = {
    contracts.Architecture: "architectures",
    contracts.Dataset: "compress.datasets",
    contracts.Stage: "compress.stages",
    contracts.Loss: "compress.losses",
    contracts.Objective: "compress.distillation",
    contracts.Exporter: "exporters",
    contracts.Runtime: "validators.runtimes",
    contracts.Check: "validators.checks",
    contracts.Index: "compress.indexes",
}
"""Base class -> the package whose modules hold its components."""


_trusted: ContextVar[bool] = ContextVar("_trusted", default=False)
_named: set[str] = set()


@contextmanager
def naming_code() -> Iterator[None]:
    """Within the block, which reads what the user wrote, names may be code: ``module:Class``, ``./file.py:Class``.

    Outside it, as in a checkpoint's header, only code that was named within such a block is found.
    """
    token = _trusted.set(True)
    try:
        yield
    finally:
        _trusted.reset(token)


def check_import_names() -> None:
    """Refuse to run if another package has one of our import names: PyPI has a package ``validators``, too.

    Raises:
        MissingTool: another package has one of our import names.
    """
    home = Path(__file__).parent.parent
    for package in ("architectures", "exporters", "validators"):
        spec = importlib.util.find_spec(package)
        found = Path(spec.origin).parent if spec is not None and spec.origin else None
        ours = found == home / package
        if ours and package == "validators":  # PyPI's package, installed into the same folder, replaces this file
            ours = "BELONGS_TO" in (home / package / "__init__.py").read_text(encoding="utf-8")
        if not ours:
            raise MissingTool(
                f"the import name '{package}' belongs to another package ({found}); give Compress an environment of "
                "its own, or uninstall that package and reinstall compress-retrieval"
            )


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, package
    return Path(spec.submodule_search_locations[0])


def kind(base: type[Component]) -> str:
    """The name of a base class's components in ``compress list`` and error messages, e.g. ``datasets``."""
    return FOLDERS[base].rpartition(".")[2]


def names(base: type[Component]) -> list[str]:
    """The components of a base class, sorted; nothing is imported."""
    modules = pkgutil.iter_modules([str(_folder(FOLDERS[base]))])
    return sorted(m.name for m in modules if not m.ispkg and not m.name.startswith("_"))


def summary(base: type[Component], name: str) -> str:
    """The first line of the component file's docstring; nothing is imported."""
    source = (_folder(FOLDERS[base]) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def did_you_mean(word: str, known: list[str]) -> str:
    """``; did you mean 'prune'?`` or the empty string, for the end of an error message."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def find(base: type[C], name: str) -> type[C]:
    """Import the one class of ``<folder>/<name>.py`` that derives from ``base``, a key of ``FOLDERS``.

    The name of an architecture may be code of the user's own: see ``naming_code``.

    Raises:
        BadInput: there is no such component; the message lists the known ones.
        MissingTool: the component's file needs a library that is not installed.
    """
    if ":" in name:
        return _imported(base, name)
    known = names(base)
    if name not in known:
        raise BadInput(f"'{name}' is not one of the {kind(base)} ({', '.join(known)}){did_you_mean(name, known)}")
    try:
        module = importlib.import_module(f"{FOLDERS[base]}.{name}")
    except ModuleNotFoundError as error:
        raise MissingTool(
            f"'{name}' of the {kind(base)} needs the Python package '{error.name}', which is not installed; "
            'install it with: pip install "compress-retrieval[all]"'
        ) from error
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__file__} must hold exactly one {base.__name__}, found {len(found)}"
    return found[0]


def _imported(base: type[C], name: str) -> type[C]:
    """The component that code of the user's own gives."""
    if base is not contracts.Architecture:
        raise BadInput(f"'{name}': only networks can be named as module:Class, not {kind(base)}")
    if not _trusted.get() and name not in _named:
        raise BadInput(
            f"'{name}' is code, which a file must not choose; name it in the recipe as model.architecture to trust it"
        )
    module, _, attribute = name.rpartition(":")
    in_file = module.endswith(".py") and module.startswith(("./", "../", "/"))
    in_package = not module.endswith(".py") and all(part.isidentifier() for part in module.split("."))
    if not attribute.isidentifier() or not (in_file or in_package):
        raise BadInput(
            f"'{name}' must be module:Class of an installed package, or ./file.py:Class of a file in the working folder"
        )
    found: type[C] = importlib.import_module("architectures._imported").architecture_of(name)
    _named.add(name)
    return found
