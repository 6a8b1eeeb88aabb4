"""Find component classes by name. The folder is the registry: ``<folder>/<name>.py`` holds exactly one component.

Other packages offer components as entry points of the group ``compress.<kind>``, such as ``compress.losses``; recipes
name those by the entry point, and any class as ``module:Class`` or ``./file.py:Class``.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import os
import pkgutil
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from compress import contracts
from compress.contracts import BadInput, Component, MissingTool
from compress.plugins import code
from compress.plugins.code import is_code as is_code
from compress.plugins.words import did_you_mean as did_you_mean

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


ALLOWED = "COMPRESS_PLUGINS"
"""Environment variable: names of foreign code, separated by spaces, that bundles and checkpoints may choose."""

_trusted: ContextVar[bool] = ContextVar("_trusted", default=False)
_named: set[str] = set()


@contextmanager
def naming_code() -> Iterator[None]:
    """Within the block, which reads what the user wrote, names may be code that is not ours.

    Outside it, as in a checkpoint's header or a bundle, only code that was named within such a block is found.
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
    home = Path(__file__).parent.parent.parent
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


def offered(kind: str) -> list[str]:
    """The entry points of installed packages for a kind of component or ``metrics``, sorted; nothing is imported."""
    return list(code.offered(f"compress.{kind}"))


def nameable(base: type[Component]) -> list[str]:
    """Every name that a recipe may give: our components, then those that installed packages offer."""
    own = names(base)
    return [*own, *(name for name in offered(kind(base)) if name not in own)]


def offered_by(kind: str, name: str) -> str:
    """One line about an entry point, for ``compress list``; nothing is imported."""
    point = code.offered(f"compress.{kind}")[name]
    package = "" if point.dist is None else f" of {point.dist.name} {point.dist.version}"
    return f"{point.value}{package}"


def find(base: type[C], name: str) -> type[C]:
    """Import the one class of ``<folder>/<name>.py`` that derives from ``base``, a key of ``FOLDERS``.

    A name may also be an entry point of an installed package, or code of the user's own: see ``naming_code``. One of
    our components is found first.

    Raises:
        BadInput: there is no such component; the message lists the known ones.
        MissingTool: the component's file needs a library that is not installed.
    """
    known = names(base)
    if is_code(name) or (name not in known and name in offered(kind(base))):
        return _foreign(base, name)
    if name not in known:
        known = nameable(base)
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


def function_named(kind: str, name: str) -> Any:
    """A function of another package or of the user's own: an entry point of ``compress.<kind>``, or ``module:name``.

    Raises:
        BadInput: there is none, it cannot be imported, or only a file chose it.
    """
    require_trust(name)
    point = code.offered(f"compress.{kind}").get(name)
    if point is None:
        code.check_shape(name)
    made = code.load(name if point is None else point.value)
    _named.add(name)
    return made


def is_trusted(name: str) -> bool:
    """Whether a recipe, a command or COMPRESS_PLUGINS named this code."""
    return _trusted.get() or name in _named or name in os.environ.get(ALLOWED, "").split()


def trust(name: str) -> None:
    """Let this code be found: the user named it in a command."""
    _named.add(name)


def require_trust(name: str) -> None:
    """Raises BadInput unless a recipe, a command or COMPRESS_PLUGINS named this code."""
    if not is_trusted(name):
        raise BadInput(
            f"'{name}' is code, which a file must not choose; name it in the recipe, or in the environment variable "
            f"{ALLOWED}, to trust it"
        )


def code_of(*components: object) -> dict[str, str]:
    """sha256 of the code of every component that is not ours, by name, also of components in options."""
    found: dict[str, str] = {}
    for each in components:
        if isinstance(each, Component):
            sha256 = code.sha256_of(type(each))
            found |= {} if sha256 is None else {each.component_name(): sha256}
            found |= code_of(*(getattr(each, f.name) for f in dataclasses.fields(each)))
    return found


def _foreign(base: type[C], name: str) -> type[C]:
    """The component that another package, or code of the user's own, gives."""
    require_trust(name)
    if is_code(name):
        code.check_shape(name)
        where = name
    else:
        where = code.offered(f"compress.{kind(base)}")[name].value
    if base is contracts.Architecture:
        made = importlib.import_module("architectures._imported").architecture_of(where)
        found: type[C] = made if "network" in vars(made) else _subclass(base, name, made)
    else:
        found = _subclass(base, name, code.load(where))
    _named.update((name, found.component_name()))
    return found


def _subclass(base: type[C], name: str, made: Any) -> type[C]:
    """Check that ``made`` is a component of this kind, and give it its name."""
    if not isinstance(made, type) or not issubclass(made, base):
        raise BadInput(f"'{name}' is no component: derive {made!r} from compress.contracts.{base.__name__}")
    try:
        typing.get_type_hints(made, include_extras=True)
    except Exception as error:  # whatever their annotations raise
        raise BadInput(f"'{name}': the types of its options cannot be read: {code.first_line(error)}") from error
    if "registered_as" not in vars(made):
        made.registered_as = name
    return made
