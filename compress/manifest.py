"""bundle.json, the manifest of a bundle: read it, walk it, judge it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compress.contracts import BadInput
from compress.hashing import artifact_sha256

SCHEMA = 1
MANIFEST = "bundle.json"
_REQUIRED = ("schema", "name", "architecture", "embedding", "preprocess", "data", "source", "artifacts", "files")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle.

    Raises:
        BadInput: there is none, it is damaged, or a newer Compress wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInput(f"{folder}: no {MANIFEST} here; give the folder that 'compress run' made")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(f"{path}: damaged ({error})") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
        raise BadInput(f"{path}: damaged (no schema number)")
    if manifest["schema"] > SCHEMA:
        raise BadInput(
            f"{path}: schema {manifest['schema']} is newer than {SCHEMA}, all this Compress reads; upgrade it"
        )
    missing = [key for key in _REQUIRED if key not in manifest]
    if missing:
        raise BadInput(f"{path}: damaged (no '{missing[0]}')")
    return manifest


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of each file below ``names`` (files or folders of the bundle), by relative path, sorted."""
    files = [
        file
        for name in names
        for file in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
        if file.is_file()
    ]
    return {file.relative_to(folder).as_posix(): artifact_sha256(file) for file in sorted(files)}


def json_values(value: Any) -> Any:
    """Plain JSON: numbers that are not finite become null, which no gate accepts."""
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def entries(manifest: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Every (artifact, runtime) pair that was checked, as one flat entry."""
    for artifact in manifest["artifacts"]:
        file = {key: artifact[key] for key in ("path", "format", "precision", "bytes", "sha256")}
        yield artifact
        for other in artifact.get("other_runtimes", ()):
            yield {**file, **other}


def failures(manifest: Mapping[str, Any]) -> list[str]:
    """One line per failed gate (artifact, name, value, limit) and per adversary that no gate caught."""
    gates = [
        f"{each['path']} on {each['runtime']}: {gate['name']} {_number(gate['value'])}, limit {_number(gate['limit'])}"
        for each in entries(manifest)
        for gate in each["gates"]
        if not gate["passed"]
    ]
    controls = [
        f"control {control['name']}: passed every {control['precision']} gate, so these gates prove nothing; tighten "
        "validate.gates"
        for control in manifest.get("controls", ())
        if not control["caught"]
    ]
    return gates + controls


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.6g}"
