"""Write bundle.json."""

from __future__ import annotations

from pathlib import Path

from compress.bundle.consistency import checksum
from compress.bundle.manifest import MANIFEST, Manifest, read_manifest
from compress.system.files import write_json


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with its checksum, atomically; returns it as it was written."""
    values = manifest.model_copy(update={"checksum": None}).to_json()
    write_json(folder / MANIFEST, {**values, "checksum": checksum(values)})
    return read_manifest(folder)
