"""One function per MIL operation. A new operation is a function with ``@operation(name)`` in the file it belongs to.

Definitions: Apple's MIL reference, https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from validators.mlprogram.ops import (
    activation,
    attention,
    constexpr,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    reduction,
    resizing,
    shape,
)
from validators.mlprogram.ops._registry import OPERATIONS, Held, Op

__all__ = [
    "OPERATIONS",
    "Held",
    "Op",
    "activation",
    "attention",
    "constexpr",
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "normalization",
    "pooling",
    "quantization",
    "reduction",
    "resizing",
    "shape",
]
