"""Import coremltools without three libraries that it only looks for; it then loads in half the time.

Every process that writes or executes an .mlpackage imports coremltools, which tries scikit-learn, torchao and
transformers, and with them PyTorch's compiler. None is needed to write, read or compress ML Programs.
"""

from __future__ import annotations

import importlib
import sys

_LOOKED_FOR = ("sklearn", "torchao", "transformers")


def load_coremltools() -> None:
    """Load coremltools as if those three were not installed; ``import coremltools`` finds it from then on.

    A process that has loaded one of the three, or coremltools itself, keeps them.
    """
    if "coremltools" in sys.modules:
        return
    before = {name: sys.modules[name] for name in _LOOKED_FOR if name in sys.modules}
    sys.modules.update(dict.fromkeys(_LOOKED_FOR))  # type: ignore[arg-type]  # None: their import fails
    try:
        importlib.import_module("coremltools")
    finally:
        for name in _LOOKED_FOR:
            sys.modules.pop(name, None)
        sys.modules.update(before)
