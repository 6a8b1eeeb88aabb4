"""Import a library without others that it only looks for, which would take seconds to load."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def import_without(name: str, *optional: str) -> ModuleType:
    """Import ``name`` as if the libraries ``optional`` were not installed, and return it.

    A process that has loaded one of them, or the library itself, keeps them; they can be imported afterwards.

    Raises:
        ImportError: ``name`` cannot be imported.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    before = {each: sys.modules[each] for each in optional if each in sys.modules}
    sys.modules.update(dict.fromkeys(optional))  # type: ignore[arg-type]  # None: their import fails
    try:
        return importlib.import_module(name)
    finally:
        for each in optional:
            sys.modules.pop(each, None)
        sys.modules.update(before)
