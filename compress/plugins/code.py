"""Code of other packages and of the user's own files: ``module:Class``, ``./file.py:Class``, or an entry point."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.contracts import BadInput, MissingTool
from compress.plugins.words import did_you_mean

_OURS = ("compress", "architectures", "exporters", "validators")
_OF_FILE = "_compress_"
"""Begins the names of modules that were made from files."""


def is_code(name: str) -> bool:
    """Whether a component's name is code and not the name of a file in one of our folders."""
    return ":" in name


@functools.cache
def offered(group: str) -> dict[str, EntryPoint]:
    """The entry points of installed packages in a group such as ``compress.losses``, by name; nothing is imported."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def check_shape(name: str) -> None:
    """Raises BadInput unless the name is ``module:Class`` or ``./file.py:Class``."""
    module, _, attribute = name.rpartition(":")
    in_file = module.endswith(".py") and module.startswith(("./", "../", "/"))
    in_package = not module.endswith(".py") and all(part.isidentifier() for part in module.split("."))
    if not attribute.isidentifier() or not (in_file or in_package):
        raise BadInput(
            f"'{name}' must be module:Class of an installed package, or ./file.py:Class of a file in the working folder"
        )


def load(name: str) -> Any:
    """Import what ``module:Class`` or ``./file.py:Class`` names.

    Raises:
        BadInput: there is no such module, file or attribute, or importing it failed.
    """
    module_name, _, attribute = name.rpartition(":")
    try:
        module = _from_file(Path(module_name)) if module_name.endswith(".py") else _installed(module_name)
    except (BadInput, MissingTool):
        raise
    except Exception as error:  # whatever their code raises while it is imported
        raise BadInput(f"{name}: cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    made = getattr(module, attribute, None)
    if not callable(made):
        near = did_you_mean(attribute, [each for each in vars(module) if not each.startswith("_")])
        raise BadInput(f"{name}: {module_name} has no class or function '{attribute}'{near}")
    return made


def source_of(name: str) -> Path:
    """The file that holds what ``module:Class`` or ``./file.py:Class`` names."""
    module, _, _ = name.rpartition(":")
    if module.endswith(".py"):
        return Path(module)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise BadInput(f"{name}: the module {module} has no source file")
    return Path(spec.origin)


def address_of(made: type) -> str:
    """A name by which another process, in another folder, can ``load`` a class."""
    module = made.__module__
    where = str(_file_of(sys.modules[module]).resolve()) if module.startswith(_OF_FILE) else module
    return f"{where}:{made.__qualname__}"


def sha256_of(made: Any) -> str | None:
    """sha256 over the Python files of the package that holds a class, or of its file; None for our own packages."""
    top = made.__module__.partition(".")[0]
    if top in _OURS:
        return None
    package = sys.modules[top]
    inside = getattr(package, "__file__", None) and hasattr(package, "__path__")
    home = _file_of(package).parent if inside else _file_of(sys.modules[made.__module__])
    files = sorted(home.rglob("*.py")) if inside else [home]
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(home).as_posix() if inside else ""
        digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _file_of(module: ModuleType) -> Path:
    assert module.__file__ is not None, module
    return Path(module.__file__)


def _installed(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise BadInput(
            f"{name}: no such module is installed (a file of the working folder is written as ./{name}.py)"
        ) from error


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, once for each content."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file (looked at {path.absolute()})")
    digest = hashlib.sha256(str(path.resolve()).encode() + path.read_bytes())
    name = f"{_OF_FILE}{digest.hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
