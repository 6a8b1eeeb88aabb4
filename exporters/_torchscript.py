"""The common part of .pt and .ptl: the frozen trace, and archives whose bytes depend on the model alone."""

from __future__ import annotations

import io
import json
import pickletools
import re
import warnings
from collections.abc import Callable, Mapping

import torch

from compress.contracts import DeployGraph

_MANGLED = re.compile(r"\.___torch_mangle_(\d+)")
_MANGLED_FOLDER = re.compile(r"/___torch_mangle_(\d+)")
_NUMBER = re.compile(r"___torch_mangle_(\d+)")
_VERSION = ".data/version"


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

    The debug records, which hold this machine's source paths, are removed, and numbers in class names, which count the
    models that this process has traced, start from 0, or are removed if there is one class. The archive's inner name,
    which torch derives from the file name, is replaced by the name that torch uses for buffers. The version of the
    operators stays: an archive with an operator of a later version does not load without it.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(saved))
    records = {name: reader.get_record(name) for name in reader.get_all_records() if not name.endswith(".debug_pkl")}
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    if _VERSION in records:
        writer.set_min_version(int(records[_VERSION]))
    rename = _renaming(records)
    for name, content in records.items():
        if not name.startswith(".data/"):  # which the writer writes itself
            record = _renamed(name, content, rename)
            writer.write_record(_in_path(name, rename), record, len(record))
    writer.write_end_of_file()
    return buffer.getvalue()


def _renaming(records: Mapping[str, bytes]) -> Callable[[str], str]:
    """What becomes of ``.___torch_mangle_17``: nothing if no two classes have the same name without it."""
    code = [name for name in records if name.startswith("code/") and name.endswith(".py")]
    plain = [_MANGLED_FOLDER.sub("", name) for name in code]
    if len(set(plain)) == len(code):
        return lambda number: ""
    numbers = sorted({int(number) for name in code for number in _NUMBER.findall(name)})
    return lambda number: f".___torch_mangle_{numbers.index(int(number))}" if int(number) in numbers else ""


def _in_path(name: str, rename: Callable[[str], str]) -> str:
    return _MANGLED_FOLDER.sub(lambda found: rename(found[1]).replace(".", "/"), name)


def _in_text(text: str, rename: Callable[[str], str]) -> str:
    return _MANGLED.sub(lambda found: rename(found[1]), text)


def _renamed(name: str, record: bytes, rename: Callable[[str], str]) -> bytes:
    """One record with other class names."""
    if name.endswith(".py"):
        return _in_text(record.decode(), rename).encode()
    if name not in ("data.pkl", "bytecode.pkl"):
        return record
    ends = [*(start for _, _, start in pickletools.genops(record)), len(record)][1:]
    parts = []
    for (operation, value, start), end in zip(pickletools.genops(record), ends, strict=True):
        part = record[start:end]  # type: ignore[misc]
        if isinstance(value, str) and _MANGLED.search(value):
            if operation.name == "GLOBAL":  # "c", then module and name, each ended by a new line
                part = _in_text(part.decode(), rename).encode()
            else:  # BINUNICODE: "X", four bytes of length, text
                text = _in_text(value, rename).encode()
                part = b"X" + len(text).to_bytes(4, "little") + text
        parts.append(part)
    return b"".join(parts)
