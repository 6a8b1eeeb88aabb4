"""Find whether a runtime's library is installed here, and its version, without importing it."""

from __future__ import annotations

import importlib.util
from importlib import metadata


def missing(module: str, requirement: str) -> str | None:
    """None if ``module`` can be imported, otherwise a line with the command that installs it."""
    if importlib.util.find_spec(module) is not None:
        return None
    return f"the Python package '{module}' is not installed; install it with: pip install \"{requirement}\""


def version_of(*distributions: str) -> str:
    """Name and version of the first of ``distributions`` that is installed."""
    for name in distributions:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return f"{distributions[0]} of unknown version"
