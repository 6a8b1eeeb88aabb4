"""bundle.json, the manifest of a bundle: read it, walk it, judge it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from compress.contracts import BadInput, Distance, EmbeddingKind
from compress.system.files import artifact_sha256

SCHEMA = 1
MANIFEST = "bundle.json"


def _inside(path: str) -> str:
    """A path that stays in the bundle, so that a manifest from elsewhere cannot point at other files."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"'{path}' lies outside the bundle")
    return path


_Path = Annotated[str, AfterValidator(_inside)]


class _Gate(BaseModel):
    name: str
    limit: float


class _Artifact(BaseModel):
    path: _Path
    format: str
    precision: str
    bytes: int
    sha256: str
    runtime: str
    gates: list[_Gate]


class _Gallery(BaseModel):
    index: str | None
    options: dict[str, Any] = {}
    path: _Path | None = None
    golden_recall: float | None = Field(None, alias="golden_recall@10")
    gates: list[_Gate] = []

    @model_validator(mode="after")
    def _describes_its_index(self) -> Self:
        if self.index is not None and (self.path is None or self.golden_recall is None):
            raise ValueError(f"the index {self.index} has no path or no golden_recall@10")
        return self


class _Architecture(BaseModel):
    params: int
    macs: int


class _Embedding(BaseModel):
    dim: int
    kind: EmbeddingKind
    distance: Distance


class _Manifest(BaseModel):
    """What the tools rely on; a manifest holds more."""

    name: str
    architecture: _Architecture
    embedding: _Embedding
    preprocess: dict[str, Any]
    data: dict[str, Any]
    source: dict[str, Any]
    artifacts: list[_Artifact]
    gallery: _Gallery | None = None
    files: dict[_Path, str]


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
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadInput(f"{path}: damaged ({where}: {problem['msg']})") from error
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
    """One line per failed gate (file, name, value, limit) and per adversary that no gate caught.

    A coarse precision may let one pass that moves features less than its own rounding does, such as a swap of colours
    for a network that was trained on grey images, where a finer precision of the same run catches it.
    """
    gates = [
        f"{each['path']} on {each['runtime']}: {gate['name']} {_number(gate['value'])}, limit {_number(gate['limit'])}"
        for each in entries(manifest)
        for gate in each["gates"]
        if not gate["passed"]
    ]
    gallery = manifest.get("gallery") or {}
    gates += [
        f"{gallery['path']}: {gate['name']} {_number(gate['value'])}, limit {_number(gate['limit'])}"
        for gate in gallery.get("gates", ())
        if not gate["passed"]
    ]
    caught = {control["name"] for control in manifest.get("controls", ()) if control["caught"]}
    controls = [
        f"control {control['name']}: passed every {control['precision']} gate, so these gates prove nothing; tighten "
        "validate.gates"
        for control in manifest.get("controls", ())
        if not control["caught"] and control["name"] not in caught
    ]
    return gates + controls


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.6g}"
