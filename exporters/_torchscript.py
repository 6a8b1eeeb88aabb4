"""What .pt and .ptl share: the frozen trace, and archives whose bytes depend on the model alone."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import torch

from compress.contracts import DeployGraph
from exporters._write import unfinished

METADATA_FILE = "metadata.json"


def frozen_trace(graph: DeployGraph) -> torch.jit.ScriptModule:
    """Traced and frozen; no ``optimize_for_mobile``, which silently broke traced networks (pytorch#76807)."""
    example = torch.zeros(2, 3, *graph.input_size, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is legacy; that is said in the documentation
        return torch.jit.freeze(torch.jit.trace(graph.module, example, check_trace=False))


def extra_files(graph: DeployGraph) -> dict[str, str]:
    """The metadata, as ``torch.jit.load(path, _extra_files={"metadata.json": ""})`` reads it."""
    return {METADATA_FILE: json.dumps(graph.metadata, sort_keys=True)}


def write_archive(saved: bytes, path: Path) -> None:
    """Write a TorchScript archive without debug records, which hold this machine's source paths.

    The archive's inner name is fixed; torch takes it from the file name.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(saved))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and not name.startswith(".data/"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    with unfinished(path) as file:
        file.write_bytes(buffer.getvalue())
