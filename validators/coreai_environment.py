"""The environment of Core AI's converter and runtime, which are betas and pin their own packages."""

from __future__ import annotations

from compress.system.other_python import OtherPython

COREAI_PYTHON = OtherPython(
    variable="COMPRESS_COREAI_PYTHON",
    distribution="coreai-core",
    modules=("coreai.runtime",),
    remedy=(
        "make an environment with 'make coreai', or there: pip install coreai-torch==0.4.3 torch==2.13.0 "
        "annotated-types, and set COMPRESS_COREAI_PYTHON to its interpreter"
    ),
)
"""Where .aimodel folders are written and executed."""
