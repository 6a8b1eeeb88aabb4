"""First on PYTHONPATH, makes the packages named in HIDDEN_PACKAGES look as if they were not installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder
from types import ModuleType
from typing import Any

HIDDEN = frozenset(name.replace("-", "_") for name in os.environ["HIDDEN_PACKAGES"].split(","))


class Finder(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in HIDDEN else super().find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, context: Any = None) -> Iterable[Distribution]:  # type: ignore[override]
        hidden = context is not None and context.name is not None and context.name.replace("-", "_") in HIDDEN
        return () if hidden else super().find_distributions(context or DistributionFinder.Context())


sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
