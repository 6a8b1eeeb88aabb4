"""Compress: small image-retrieval networks, exported for phones and verified on the phone's own runtime."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.api import Bundle as Bundle
    from compress.api import load_recipe as load_recipe
    from compress.api import run as run

__version__ = "0.1.0"
__all__ = ["Bundle", "load_recipe", "run"]


def __getattr__(name: str) -> Any:
    """Load what ``__all__`` names when it is used, so that ``import compress`` is quick."""
    if name not in __all__:
        raise AttributeError(f"module 'compress' has no attribute '{name}'")
    from compress import api

    return getattr(api, name)


class _Package(ModuleType):
    """Keeps ``compress.run`` the function: importing the folder of the same name would replace it by a module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "run" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
