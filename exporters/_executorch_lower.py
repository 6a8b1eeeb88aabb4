"""Lower an exported program to ExecuTorch's file; runs in the environment of executorch, as a child process.

Of Compress, it may import what the child finds there without further libraries.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM, LOWERED = "program.pt2", "lowered.pte"
METADATA = "metadata"
"""The method of the file that returns its metadata, a JSON object as text."""


def lower(job: Mapping[str, Any], scratch: Path) -> None:
    """Read ``scratch``/``PROGRAM`` and write ``scratch``/``LOWERED``.

    Args:
        job: ``metadata``, the text that the method of this name returns.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    program = torch.export.load(scratch / PROGRAM)
    edge = to_edge_transform_and_lower(
        program,
        partitioner=[XnnpackPartitioner()],
        constant_methods={METADATA: job["metadata"]},
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    with (scratch / LOWERED).open("wb") as file:
        edge.to_executorch().write_to_file(file)
