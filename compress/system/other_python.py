"""Another Python with libraries that this one cannot hold; an environment variable names its interpreter."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.system.child import ChildFailed, call


@dataclass(frozen=True)
class OtherPython:
    """An environment of its own for one library.

    Interpreters in the working folder are not tried, because they may be part of an untrusted bundle.

    Attributes:
        variable: the environment variable that names the interpreter.
        distribution: the library, as ``pip`` names it.
        modules: what must be importable there, in this order; the last one belongs to the library.
        remedy: how to make the environment, for error messages.
    """

    variable: str
    distribution: str
    modules: tuple[str, ...]
    remedy: str

    def interpreter(self, chosen: str | None = None) -> str | None:
        """The interpreter: ``chosen``, or the one that the variable names; None if neither does."""
        named = chosen or os.environ.get(self.variable)
        if not named:
            return None
        return str(Path(shutil.which(named) or named).absolute())  # not resolved: an environment's python is a link

    def unavailable(self, chosen: str | None = None) -> str | None:
        """Why the library does not run there, with the remedy; None if it does."""
        python = self.interpreter(chosen)
        if python is None:
            return f"{self.variable} names no interpreter; {self.remedy}"
        works, answer = _probe(python, self.distribution, self.modules)
        return None if works else f"{self.distribution} does not run in {python} ({answer}); {self.remedy}"

    def version(self, chosen: str | None = None) -> str:
        """Name and version of the library there; in the child that has loaded it, of that one."""
        if self.modules[-1] in sys.modules:
            return f"{self.distribution} {importlib.metadata.version(self.distribution)}"
        python = self.interpreter(chosen)
        works, answer = (False, "") if python is None else _probe(python, self.distribution, self.modules)
        return f"{self.distribution} {answer if works else 'of unknown version'}"


@functools.cache
def _probe(interpreter: str, distribution: str, modules: tuple[str, ...]) -> tuple[bool, str]:
    """Import the modules in a child process: whether they can be, and the library's version or the reason."""
    try:
        job = {"distribution": distribution, "modules": modules}
        return True, call(_version, job, interpreter=interpreter, timeout_s=120)
    except ChildFailed as failed:
        return False, failed.line


def _version(job: Mapping[str, Any], scratch: Path) -> str:
    for module in job["modules"]:
        importlib.import_module(module)
    return importlib.metadata.version(job["distribution"])
