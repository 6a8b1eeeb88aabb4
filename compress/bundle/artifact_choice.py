"""Choose the artifact of a bundle that embeds photographs, and the runtime that executes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.bundle.manifest import MANIFEST, ArtifactEntry, Manifest
from compress.contracts import BadInput, MissingTool, Runtime
from compress.plugins import did_you_mean

SHIPPED = ("tflite", "onnx", "coreml")
"""The formats that apps ship today; formats that run on most systems come first."""


def artifacts_by_name(manifest: Manifest) -> dict[str, ArtifactEntry]:
    """The manifest's artifacts by file name, such as ``quickstart.fp32.onnx``."""
    return {Path(entry.path).name: entry for entry in manifest.artifacts}


def choose_artifact(
    folder: Path, artifacts: Mapping[str, ArtifactEntry], name: str | None = None, runtime: str | None = None
) -> tuple[ArtifactEntry, Runtime]:
    """Choose the named artifact, or the first one that can run here, those of ``SHIPPED`` formats first.

    Args:
        artifacts: those of the bundle in ``folder``, by file name.
        runtime: title of the runtime that is to execute it; by default the artifact's best one installed here.

    Raises:
        BadInput: there is no such artifact or runtime, or the runtime cannot run the artifact's format.
        MissingTool: no runtime that could execute it is installed here.
    """
    from validators import choose_runtime, runtime_named

    able = _named(folder, artifacts, name)
    if runtime is not None:
        formats = runtime_named(runtime).formats
        has = ", ".join(sorted({entry.format for entry in able}))
        able = [entry for entry in able if entry.format in formats]
        if not able:
            raise BadInput(f"--runtime {runtime}: runs {', '.join(sorted(formats))}, not {has}")
    reasons = []
    for entry in able:
        try:
            return entry, choose_runtime(entry.format, runtime)
        except MissingTool as error:
            reasons.append(str(error))
    if not reasons:
        raise BadInput(f"{folder / MANIFEST}: the bundle has no artifact that could embed an image")
    raise MissingTool(f"{folder}: {reasons[0]}")


def _named(folder: Path, artifacts: Mapping[str, ArtifactEntry], name: str | None) -> Sequence[ArtifactEntry]:
    if name is None:
        order = {each: rank for rank, each in enumerate(SHIPPED)}
        return sorted(artifacts.values(), key=lambda entry: order.get(entry.format, len(order)))
    if name not in artifacts:
        near = did_you_mean(name, list(artifacts))
        raise BadInput(f"--artifact {name}: {folder} has {', '.join(artifacts) or 'no artifacts'}{near}")
    return [artifacts[name]]
