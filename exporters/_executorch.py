"""Export a network for ExecuTorch: PyTorch's export here, executorch's converter in an environment of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.contracts import DeployGraph

_TIMEOUT_S = 1800


def write_lowered(graph: DeployGraph, path: Path, metadata: Mapping[str, Any], **options: Any) -> None:
    """Write a .pte file.

    Args:
        metadata: the JSON object that the file's method ``metadata`` returns.
        options: the other values of the job of ``_executorch_lower.lower``.

    Raises:
        CompressError: the converter refuses the network.
    """
    import numpy as np
    import torch

    from compress.system.child import ChildFailed, child
    from exporters._executorch_lower import CALIBRATION, LOWERED, PROGRAM, lower
    from validators.executorch_environment import EXECUTORCH_PYTHON

    job = {"metadata": json.dumps(metadata, sort_keys=True), **options}
    interpreter = EXECUTORCH_PYTHON.interpreter()
    assert interpreter is not None  # require_converter has tried it out
    program = torch.export.export(graph.module, (torch.zeros(1, 3, *graph.input_size, dtype=torch.uint8),))
    try:
        with child(lower, job, interpreter=interpreter) as started:
            torch.export.save(program, started.scratch / PROGRAM)
            if options["integers"]:
                assert graph.calibration is not None
                images = np.ascontiguousarray(graph.calibration.transpose(0, 3, 1, 2))
                np.save(started.scratch / CALIBRATION, images)
            started.result(_TIMEOUT_S)
            path.write_bytes((started.scratch / LOWERED).read_bytes())
    except ChildFailed as failed:
        raise failed.error(f"{path.name}: the ExecuTorch converter") from failed


def described(content: bytes) -> Mapping[str, Any]:
    """The metadata of a .pte file."""
    from exporters._executorch_lower import METADATA
    from validators.pte_file import returned_text

    found: Mapping[str, Any] = json.loads(returned_text(content, METADATA))
    return found
