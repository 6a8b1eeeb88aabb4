"""Write model packages whose bytes depend on the model alone."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import coremltools as ct

from compress.system.files import artifact_sha256


def rewritten(saved: Path, package: Path) -> None:
    """Copy the model package ``saved`` to ``package``, made reproducible.

    Only what the manifest lists is copied (coremltools adds a debug file larger than the specification), with ordinary
    file modes instead of a temporary file's. The specification is serialised in canonical order, because the order of
    protobuf maps depends on a hash. Items are named after their content instead of by random UUIDs.
    """
    manifest = json.loads((saved / "Manifest.json").read_text(encoding="utf-8"))
    items = manifest["itemInfoEntries"]
    names = {}
    for old, item in items.items():
        source, target = (folder / "Data" / item["path"] for folder in (saved, package))
        _copy(source, target)
        names[old] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{item['path']} {artifact_sha256(target)}")).upper()
    manifest["itemInfoEntries"] = {names[old]: item for old, item in items.items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    text = json.dumps(manifest, indent=4, sort_keys=True) + "\n"
    (package / "Manifest.json").write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for inner in source.iterdir():
            _copy(inner, target / inner.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    content = source.read_bytes()
    if source.suffix == ".mlmodel":
        spec = ct.proto.Model_pb2.Model.FromString(content)
        content = spec.SerializeToString(deterministic=True)
    target.write_bytes(content)
