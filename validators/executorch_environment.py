"""The environment of executorch, which needs another torchao than the TFLite converter and 1.5 GB of its own."""

from __future__ import annotations

from compress.system.other_python import OtherPython

EXECUTORCH_PYTHON = OtherPython(
    variable="COMPRESS_EXECUTORCH_PYTHON",
    distribution="executorch",
    modules=("torch", "executorch.extension.pybindings._C"),  # the runtime needs torch's libraries
    remedy=(
        "make an environment with 'make executorch', or there: pip install executorch==1.5.1 torch==2.13.0 "
        "annotated-types, and set COMPRESS_EXECUTORCH_PYTHON to its interpreter"
    ),
)
"""Where .pte files are written and executed."""
