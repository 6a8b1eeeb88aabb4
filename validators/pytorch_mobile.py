"""Check, from the archive alone and without PyTorch, whether PyTorch Mobile would load a TorchScript file.

PyTorch Mobile's last release is 2.1 (2023). A newer PyTorch can write files that it refuses: a higher file or bytecode
version, or operators that its libraries do not have. Nothing is executed here, so this does not prove that it runs.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.system.child import ChildFailed, call

_TIMEOUT_S = 120

FORMATS = frozenset({"torchscript", "torchscript-lite"})

# caffe2/serialize/versions.h of PyTorch 2.1.
MAX_FILE_VERSION = 10
BYTECODE_VERSIONS = range(4, 10)

# ``prepacked::`` comes from optimize_for_mobile and differs between builds; ``quantized::`` needs an engine built in.
_MOST_TEXT = 64 * 1024 * 1024
"""Largest unpacked size; a network's program has about 100 kB. A few bytes of zip can unpack to any size."""
_NAMESPACES = frozenset({"aten", "prim"})


@dataclass(frozen=True)
class MobileFile:
    """What a TorchScript archive needs from PyTorch Mobile.

    Attributes:
        file_version: version of the archive.
        bytecode_version: version of the lite interpreter's program; None if the file has none (``.pt``).
        operators: every operator the program calls, e.g. ``aten::conv2d``, sorted.
        problems: why PyTorch Mobile 2.1 would refuse the file, one line each.
    """

    file_version: int | None
    bytecode_version: int | None
    operators: tuple[str, ...]
    problems: tuple[str, ...]


def described(path: Path, file_format: str) -> dict[str, Any]:
    """The entry ``pytorch_mobile`` of an artifact in bundle.json; empty for other formats than TorchScript.

    A child process reads the archive, because it may be untrusted.

    Raises:
        MissingTool: the machine lacked memory, disk space or time.
    """
    if file_format not in FORMATS:
        return {}
    job = {"path": str(path.absolute()), "lite": file_format == "torchscript-lite"}
    try:
        return {"pytorch_mobile": call(_inspected, job, timeout_s=_TIMEOUT_S)}
    except ChildFailed as failed:
        if failed.lacking is not None:
            raise failed.error(f"reading {path}") from failed
        problem = f"no readable TorchScript archive ({failed.line})"
        return {"pytorch_mobile": asdict(MobileFile(None, None, (), (problem,)))}


def _inspected(job: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    return asdict(inspect(Path(job["path"]), lite=job["lite"]))


def inspect(path: Path, *, lite: bool) -> MobileFile:
    """Read a TorchScript archive; a damaged one is reported as a problem, not raised as an exception.

    Args:
        lite: whether the file is for the lite interpreter, so that it must hold bytecode.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {name.partition("/")[2]: name for name in archive.namelist()}
            text = [e.file_size for e in archive.infolist() if e.filename.endswith((".py", ".pkl", "version"))]
            if sum(text) > _MOST_TEXT:
                raise ValueError(f"its program unpacks to more than {_MOST_TEXT:,} bytes")
            file_version = int(archive.read(records["version"]))
            if "bytecode.pkl" in records:
                bytecode_version, operators = _bytecode(archive.read(records["bytecode.pkl"]))
            else:
                code = [archive.read(name).decode() for name in records.values() if name.endswith(".py")]
                bytecode_version, operators = None, _called("\n".join(code))
    except Exception as error:  # zipfile and pickle raise errors of every kind for damaged files
        return MobileFile(None, None, (), (f"no readable TorchScript archive ({error})",))
    found = tuple(sorted(operators))
    return MobileFile(file_version, bytecode_version, found, _problems(file_version, bytecode_version, found, lite))


def _problems(file_version: int, bytecode: int | None, operators: tuple[str, ...], lite: bool) -> tuple[str, ...]:
    problems = []
    if file_version > MAX_FILE_VERSION:
        problems.append(f"file version {file_version}, PyTorch Mobile 2.1 reads up to {MAX_FILE_VERSION}")
    if lite and bytecode is None:
        problems.append("no bytecode for the lite interpreter")
    if bytecode is not None and bytecode not in BYTECODE_VERSIONS:
        low, high = BYTECODE_VERSIONS[0], BYTECODE_VERSIONS[-1]
        problems.append(f"bytecode version {bytecode}, PyTorch Mobile 2.1 reads {low} to {high}")
    foreign = [name for name in operators if name.partition("::")[0] not in _NAMESPACES]
    if foreign:
        problems.append(f"operators that not every build of PyTorch Mobile has: {', '.join(foreign)}")
    return tuple(problems)


def _bytecode(content: bytes) -> tuple[int, set[str]]:
    """The version, and the operators of all functions: (version, (name, ((table, entries), ...), schema), ...)."""
    version, *functions = _Plain(io.BytesIO(content)).load()
    tables = [dict(function[1]) for function in functions]
    return int(version), {operator[0] for table in tables for operator in table["operators"]}


def _called(code: str) -> set[str]:
    """The operators in TorchScript source: ``torch.relu(`` is aten's, ``ops.prepacked.conv2d_clamp_run(`` is not."""
    standard = {f"aten::{name}" for name in re.findall(r"\btorch\.(\w+)\(", code)}
    return standard | {f"{space}::{name}" for space, name in re.findall(r"\bops\.(\w+)\.(\w+)\(", code)}


class _Plain(pickle.Unpickler):
    """Reads lists, tuples, strings and numbers; anything else becomes a placeholder, and no code runs."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return lambda *arguments: arguments

    def persistent_load(self, pid: Any, /) -> Any:
        return None
