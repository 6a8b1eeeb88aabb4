"""Import coremltools without three libraries that it only looks for; it then loads in half the time.

Every process that writes or executes an .mlpackage imports coremltools, which tries scikit-learn, torchao and
transformers, and with them PyTorch's compiler. None is needed to write, read or compress ML Programs.
"""

from __future__ import annotations

from compress.system.import_without import import_without


def load_coremltools() -> None:
    """Load coremltools without those three; ``import coremltools`` finds it from then on."""
    import_without("coremltools", "sklearn", "torchao", "transformers")
