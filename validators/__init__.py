"""Run exported artifacts on their own runtimes and measure how far they are from the PyTorch model.

It can be imported without PyTorch and without any runtime: only NumPy is needed until an artifact runs.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, get_args

import numpy as np

from compress import plugins
from compress.contracts import BadInput, CompressError, Evidence, MissingTool, Runtime
from compress.system.child import Lacking
from validators.isolation import execute

# PyPI has another package named ``validators``; compress.plugins checks which of the two was imported.
BELONGS_TO = "compress-retrieval"

FORMATS = {
    ".pt": "torchscript",
    ".ptl": "torchscript-lite",
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".mlpackage": "coreml",
    ".pte": "executorch",
    ".coreml.pte": "executorch-coreml",
    ".aimodel": "coreai",
}
EVIDENCE_ORDER = get_args(Evidence)


class ArtifactError(CompressError):
    """The artifact did not run: it is damaged, its runtime aborted, or it gave no embeddings."""


class MachineFailed(ArtifactError, MissingTool):
    """The artifact did not run because the machine lacked memory, disk space, time or a process (exit code 3)."""


def failure_of(line: str, lacking: Lacking | None) -> ArtifactError:
    """Make the error for an artifact that did not run."""
    return ArtifactError(line) if lacking is None else MachineFailed(line)


def suffix_of(path: PurePath | str) -> str:
    """The suffix that says an artifact's format, such as ``.coreml.pte``; of other files, what follows the last dot."""
    name = PurePath(path).name
    return max((suffix for suffix in FORMATS if name.endswith(suffix)), key=len, default=PurePath(name).suffix)


def format_of(path: Path | str) -> str:
    """The format of a file by its suffix, e.g. ``tflite``.

    Raises:
        BadInput: no artifact has this suffix.
    """
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        raise BadInput(f"{path}: '{suffix}' is not the suffix of an artifact (there are: {', '.join(FORMATS)})")
    return FORMATS[suffix]


def runtimes_for(format: str) -> list[Runtime]:
    """List our runtimes of a format, installed or not, with default options: native, then older, then reference.

    Runtimes of other packages are not imported for this: they execute only what names them.
    """
    found = [plugins.find(Runtime, name)() for name in plugins.names(Runtime)]
    able = [runtime for runtime in found if format in runtime.formats]
    return sorted(able, key=lambda runtime: (EVIDENCE_ORDER.index(runtime.evidence()), runtime.component_name()))


def runtime_titles() -> dict[str, Runtime]:
    """Every runtime under every title that ``--runtime`` takes, such as ``litert`` and ``litert-without-xnnpack``."""
    variants = [variant for name in plugins.names(Runtime) for variant in plugins.find(Runtime, name).variants()]
    return {variant.title(): variant for variant in variants}


def runtime_named(title: str) -> Runtime:
    """The runtime with this title, or the one of another package that it names.

    Raises:
        BadInput: no runtime has it; the message lists them.
    """
    known: dict[str, Runtime | None] = {**runtime_titles()}
    offered = plugins.offered("runtimes")
    if title not in known and (title in offered or plugins.is_code(title)):
        return plugins.find(Runtime, title)()
    if title not in known:
        known |= dict.fromkeys(offered)
        near = plugins.did_you_mean(title, list(known))
        raise BadInput(f"'{title}' is not one of the runtimes ({', '.join(known)}){near}")
    runtime = known[title]
    assert runtime is not None
    return runtime


def choose_runtime(format: str, name: str | None = None) -> Runtime:
    """Choose the runtime with this title, or the best one of a format that is installed here.

    Raises:
        BadInput: no runtime has this title, or it does not run this format.
        MissingTool: the named runtime, or every runtime of the format, cannot run on this machine.
    """
    able = runtimes_for(format)
    if name is not None:
        chosen = runtime_named(name)
        if format not in chosen.formats:
            names = ", ".join(runtime.component_name() for runtime in able)
            raise BadInput(f"runtime '{name}' does not run {format} artifacts (those that do: {names})")
        able = [chosen]
    reasons = []
    for runtime in able:
        reason = runtime.unavailable()
        if reason is None:
            return runtime
        reasons.append(f"{runtime.component_name()}: {reason}")
    raise MissingTool(f"no runtime for {format} artifacts can run here ({'; '.join(reasons)})")


def run_artifact(path: Path | str, images: np.ndarray, *, runtime: str | None = None) -> np.ndarray:
    """Embed images with an exported artifact, in a child process.

    Args:
        path: a .pt, .ptl, .onnx, .tflite, .pte or .coreml.pte file, or a .mlpackage or .aimodel folder.
        images: uint8 [N, H, W, 3], RGB, values 0-255, at the artifact's input size; N may be 0.
        runtime: a name that ``compress list runtimes`` shows; by default the best one installed here.

    Returns:
        Embeddings, float32 [N, D], as the artifact gives them (NaN included).

    Raises:
        BadInput: no such file, unknown suffix or runtime, or images of another type or shape.
        MissingTool: the runtime, or every runtime of this format, cannot run on this machine.
        ArtifactError: the artifact did not run; the message says why.
        MachineFailed: an ArtifactError and MissingTool: the machine lacked memory, disk space or time.
    """
    path = Path(path)
    format = format_of(path)
    if not path.exists():
        raise BadInput(f"{path}: no such artifact")
    _check(images)
    if runtime is not None:
        plugins.trust(runtime)
    # A second per image is far more than any artifact needs, and bounds a hang.
    done = execute(choose_runtime(format, runtime), path, {"images": images}, timeout_s=600 + len(images))
    if done.outputs is None:
        raise failure_of(f"{path}: {done.failure}", done.lacking)
    return done.outputs["images"]


def _check(images: Any) -> None:
    want = "images must be a NumPy array uint8 [N, H, W, 3], RGB with values 0-255"
    if not isinstance(images, np.ndarray):
        raise BadInput(f"{want}, not {type(images).__name__}")
    if images.dtype != np.uint8:
        raise BadInput(f"{want}, not {images.dtype}; the artifact normalises, so give it the pixels as they are")
    if images.ndim == 3:
        raise BadInput(f"{want}, not {list(images.shape)}; give one image as images[None]")
    if images.ndim != 4 or images.shape[3] != 3:
        raise BadInput(f"{want}, not {list(images.shape)}")
    if 0 in images.shape[1:]:
        raise BadInput(f"{want}, not {list(images.shape)}: images without pixels")
