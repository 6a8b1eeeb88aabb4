"""``compress import-device-results``: take what a phone measured into a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compress.bundle.consistency import SIGNATURE, changed_files, inconsistencies
from compress.bundle.device_results import DeviceResults, MeasuredArtifact, read_device_results
from compress.bundle.device_rows import device_row, with_rows
from compress.bundle.golden import read_golden
from compress.bundle.manifest import ArtifactEntry, Entry, Manifest, read_manifest
from compress.bundle.write_manifest import write_manifest
from compress.contracts import BadInput
from compress.gallery.store import GALLERY, read_gallery
from validators.results import Execution


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        entries: the rows that were added.
        signature: the bundle's signature, which no longer fits; None if it had none.
    """

    entries: tuple[Entry, ...]
    signature: Path | None


def import_device_results(folder: Path, file: Path) -> Imported:
    """Add a device's measurements as rows of a bundle, and write bundle.json again.

    Scores are computed here, from the embeddings in the file. A row of the same device, runtime and processor is
    replaced.

    Raises:
        BadInput: the bundle is not as it was made, or the file is damaged or does not belong to it.
    """
    results, sha256 = read_device_results(file)
    manifest = read_manifest(folder)
    for problem in [*changed_files(folder, manifest), *inconsistencies(folder, manifest)]:
        raise BadInput(f"{folder}: is not as it was made ({problem}); see 'compress verify', then import again")
    if results.golden_sha256 != manifest.files.get("golden/images.u8"):
        raise BadInput(
            f"{file}: golden_sha256: other golden images than {folder}/golden/images.u8; copy this bundle to the "
            "device and measure again"
        )
    bundle = (folder, manifest, read_golden(folder / "golden"), read_gallery(folder / GALLERY))
    rows: dict[str, dict[str, Execution]] = {}
    for number, (artifact, measured) in enumerate(_matched(file, results, manifest)):
        try:
            row = device_row(results, sha256, measured, artifact, bundle)
        except BadInput as error:
            raise BadInput(f"{file}: artifacts.{number}: {error}") from error
        if rows.setdefault(artifact.path, {}).setdefault(row.runtime, row) is not row:
            raise BadInput(
                f"{file}: artifacts.{number}: {artifact.path} on {measured.processor} is listed twice; remove one"
            )
    added = tuple(with_rows(each, rows.get(each.path, {}).values()) for each in manifest.artifacts)
    written = write_manifest(folder, manifest.model_copy(update={"artifacts": added}))
    names = {(path, name) for path, found in rows.items() for name in found}
    signature = folder / SIGNATURE
    return Imported(
        tuple(entry for entry in written.entries if (entry.path, entry.runtime) in names),
        signature if signature.is_file() else None,
    )


def _matched(
    file: Path, results: DeviceResults, manifest: Manifest
) -> Iterator[tuple[ArtifactEntry, MeasuredArtifact]]:
    """Each measurement with its artifact. Raises BadInput for a sha256 that no artifact of the bundle has."""
    known = {artifact.sha256: artifact for artifact in manifest.artifacts}
    for number, measured in enumerate(results.artifacts):
        if measured.sha256 not in known:
            raise BadInput(
                f"{file}: artifacts.{number}.sha256: {measured.path} of the device is no artifact of this bundle; "
                "measure the files of this bundle, or give the bundle that was on the device"
            )
        yield known[measured.sha256], measured
