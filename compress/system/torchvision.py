"""Import torchvision even if its C++ operators do not fit the installed torch.

PyPI's torchvision wheel is built for CUDA. With a CPU-only torch its operator library does not load, and the import
fails with "operator torchvision::nms does not exist". Data sets, transforms and classification models use none of these
operators, so declaring the two schemas that the import needs is enough.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# The declarations last only as long as this object.
_declared: Any = None


def import_torchvision() -> ModuleType:
    """Import the ``torchvision`` package; if the plain import works, nothing is declared.

    Raises:
        ModuleNotFoundError: torchvision or torch is not installed.
    """
    global _declared
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _declared is not None or "torchvision::" not in str(error):
            raise
    # Submodules of the failed import would not be bound to the package that the second import makes.
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]

    from torch import library

    _declared = library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        _declared.define(schema)
    return importlib.import_module("torchvision")
