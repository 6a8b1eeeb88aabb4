"""Read and write the folder that a .pte file holds for ExecuTorch's Core ML delegate.

The delegate's data are the folder's files one after the other, then a JSON object that lists them, written backwards so
that it is found from the end (ExecuTorch's ``inmemoryfs``). A folder follows what is in it; the last one is the whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from validators.pte_file import Delegated, Kernel, calls

COREML = "CoreMLBackend"
PACKAGE = "model.mlpackage"
_FILE, _FOLDER = 0, 1
_CAST = "dim_order_ops::_to_dim_order_copy"
_MAX_DEPTH = 8


def packed(folder: Path) -> bytes:
    """The data of the delegate that hold a folder; the same files give the same bytes."""
    data, nodes = bytearray(), list[dict[str, Any]]()

    def add(path: Path) -> int:
        children = {each.name: add(each) for each in sorted(path.iterdir())} if path.is_dir() else {}
        content = b"" if path.is_dir() else path.read_bytes()
        region = {"offset": 0 if path.is_dir() else len(data), "size": len(content)}
        kind = _FOLDER if path.is_dir() else _FILE
        data.extend(content)
        nodes.append({"children": children, "dataRegion": region, "kind": kind, "name": path.name})
        return len(nodes) - 1

    add(folder)
    listed = json.dumps({"nodes": nodes}, sort_keys=True, separators=(",", ":"))
    return bytes(data) + listed.encode()[::-1]


def unpack(data: bytes, folder: Path) -> None:
    """Write what ``packed`` packed to ``folder``, which does not exist yet.

    Raises:
        ValueError: the data are damaged, or would write elsewhere.
    """
    try:
        nodes = json.JSONDecoder().raw_decode(data[::-1].decode("latin-1"))[0]["nodes"]
        _write(data, nodes, len(nodes) - 1, folder, _MAX_DEPTH)
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"the delegate's folder is damaged ({type(error).__name__}: {error})") from error


def unpack_package(content: bytes, folder: Path) -> Path:
    """Write the Core ML package of a .pte file into ``folder``; returns its path.

    Raises:
        ValueError: the method ``forward`` is not a cast followed by one part that Core ML computes, or that is damaged.
    """
    names = [call.name if isinstance(call, Kernel) else call.backend for call in calls(content, "forward")]
    if names != [_CAST, COREML]:
        raise ValueError(f"expected a cast and one part for Core ML, found {', '.join(names) or 'nothing'}")
    (data,) = (call.data for call in calls(content, "forward") if isinstance(call, Delegated))
    unpack(data, folder / "lowered")
    return folder / "lowered" / PACKAGE


def _write(data: bytes, nodes: list[Any], number: int, path: Path, depth: int) -> None:
    node = nodes[number]
    if node["kind"] == _FILE:
        start, size = node["dataRegion"]["offset"], node["dataRegion"]["size"]
        if not 0 <= start <= start + size <= len(data):
            raise ValueError(f"the file {path.name} reaches past the end")
        path.write_bytes(data[start : start + size])
        return
    if depth == 0:
        raise ValueError(f"the folders are more than {_MAX_DEPTH} deep")
    path.mkdir()
    for name, child in node["children"].items():
        if name in ("", ".", "..") or "/" in name or "\\" in name or not 0 <= child < number:
            raise ValueError(f"the folder {path.name} lists the file {name!r}")
        _write(data, nodes, child, path / name, depth - 1)
