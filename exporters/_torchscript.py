"""The common part of .pt and .ptl: the frozen trace, and archives whose bytes depend on the model alone."""

from __future__ import annotations

import io
import json
import pickletools
import re
import warnings

import torch

from compress.contracts import DeployGraph

_MANGLED = re.compile(r"\.___torch_mangle_\d+")


def frozen_trace(graph: DeployGraph) -> torch.jit.ScriptModule:
    """Trace and freeze; without ``optimize_for_mobile``, which silently broke traced networks (pytorch#76807)."""
    example = torch.zeros(2, 3, *graph.input_size, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is legacy, as the documentation says
        # torch's check compares the network with itself; a validator checks the written file.
        frozen: torch.jit.ScriptModule = torch.jit.freeze(torch.jit.trace(graph.module, example, check_trace=False))
        return frozen


def extra_files(graph: DeployGraph) -> dict[str, str]:
    """The metadata, as ``torch.jit.load(path, _extra_files={"metadata.json": ""})`` reads it."""
    return {"metadata.json": json.dumps(graph.metadata, sort_keys=True)}


def reproducible(saved: bytes) -> bytes:
    """Rewrite a TorchScript archive so that its bytes depend on the model alone.

    The debug records, which hold this machine's source paths, are removed, and so is the number in the class name,
    which counts the models that this process has traced. The archive's inner name, which torch derives from the file
    name, is replaced by the name that torch uses for buffers.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(saved))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and not name.startswith(".data/"):  # .data is written by the writer itself
            record = _unmangled(name, reader.get_record(name))
            writer.write_record(re.sub(r"/___torch_mangle_\d+", "", name), record, len(record))
    writer.write_end_of_file()
    return buffer.getvalue()


def _unmangled(name: str, record: bytes) -> bytes:
    """Give one record the plain class name; a frozen model has a single class, so names cannot collide."""
    if name.endswith(".py"):
        return _MANGLED.sub("", record.decode()).encode()
    if name not in ("data.pkl", "bytecode.pkl"):
        return record
    ends = [*(start for _, _, start in pickletools.genops(record)), len(record)][1:]
    parts = []
    for (operation, value, start), end in zip(pickletools.genops(record), ends, strict=True):
        part = record[start:end]  # type: ignore[misc]
        if isinstance(value, str) and _MANGLED.search(value):
            if operation.name == "GLOBAL":  # "c", then module and name, each ended by a new line
                part = _MANGLED.sub("", part.decode()).encode()
            else:  # BINUNICODE: "X", four bytes of length, text
                text = _MANGLED.sub("", value).encode()
                part = b"X" + len(text).to_bytes(4, "little") + text
        parts.append(part)
    return b"".join(parts)
