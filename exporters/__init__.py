"""File formats for phones: ``<name>.py`` holds one Exporter. Nothing heavy loads before a conversion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from compress import plugins
from compress.contracts import (
    BadInput,
    DeployGraph,
    Distance,
    EmbeddingSpec,
    Exporter,
    MissingTool,
    Optimize,
    Preprocess,
    Timer,
)
from compress.system import environment

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from compress.contracts import Model

_IMAGENET = Preprocess((224, 224))


def export_model(
    model: nn.Module,
    path: Path | str,
    *,
    input_size: int | tuple[int, int],
    precision: str = "fp32",
    mean: tuple[float, float, float] = _IMAGENET.mean,
    std: tuple[float, float, float] = _IMAGENET.std,
    calibration: np.ndarray | None = None,
    distance: Distance = "l2",
    metadata: Mapping[str, Any] | None = None,
    optimize: Optimize = "speed",
    max_bytes: int | None = None,
    plan: Mapping[str, str] | None = None,
    timer: Timer | None = None,
) -> Path:
    """Write ``model`` as an artifact that takes uint8 RGB and gives ``embedding``; the suffix selects the format.

    The written file is executed in a child process: one that its runtime refuses, or whose embeddings of two images
    differ from the model's, does not appear at ``path``. The model itself is not changed. If its class has a method
    ``embed``, the classifier is left out of the artifact.

    Args:
        model: takes normalised float32 [N, 3, H, W]; its forward, or its method ``embed``, gives [N, D].
        path: .pt, .ptl, .onnx, .tflite, .mlpackage, .pte, .coreml.pte or .aimodel; missing folders are created, an
            older artifact is replaced.
        input_size: height and width in pixels, or one number for both.
        precision: one of the format's precisions.
        mean, std: per RGB channel, for values in [0, 1]; the normalisation becomes part of the artifact.
        calibration: uint8 images [N, H, W, 3], a few hundred training images, for precisions that need activation
            ranges (w8a8); must not be given for others.
        distance: cosine adds an L2 normalisation of the output; hamming declares K activations in [0, 1] as output,
            local declares packed local features.
        metadata: flat JSON values to write into the file, in addition to those about input and output or replacing
            them.
        optimize: ``speed`` lets rewrites add weights, ``size`` does not (only where a phone's GPU would compute wrong
            values otherwise), ``none`` converts the network unchanged; ``measured`` uses the variants that ``timer``
            finds fastest.
        max_bytes: largest size of the file, for ``speed`` and ``measured``.
        plan: an artifact's ``plan`` in a bundle.json, to use the same variants again without measuring.
        timer: ``validators.timing.timer(format)``, for ``measured``.

    Raises:
        BadInput: unknown suffix, precision or distance, missing or unneeded calibration, a size or normalisation out of
            range, a model that cannot be traced, a limit in bytes that cannot be kept, or a plan that belongs to
            another network.
        CompressError: the file cannot be executed, or computes something else than the model.
        MissingTool: the converter is not installed.
    """
    path = Path(path)
    exporter = _exporter(path, precision, optimize=optimize, max_bytes=max_bytes, plan=plan)
    require_converter(exporter)
    size = _size(input_size)
    _check_calibration(exporter, calibration, size)
    preprocess = Preprocess(size, mean=_triple("mean", mean), std=_triple("std", std))
    if min(preprocess.std) <= 0:
        raise BadInput(f"std: {preprocess.std} must be above 0, for values scaled to [0, 1]")
    if distance not in get_args(Distance):
        raise BadInput(f"distance: '{distance}' is not one of {', '.join(get_args(Distance))}")

    from exporters import _deploy

    deployed = _deploy.Deployed(model, preprocess, distance)
    dim = _deploy.embedding_dim(deployed, preprocess.size)
    described = _deploy.describe(
        name=path.stem,
        license="unspecified",
        architecture=type(model).__name__.lstrip("_"),
        preprocess=preprocess,
        embedding=EmbeddingSpec.of(dim, distance),
    )
    about = {**described, **_json_values(metadata or {})}
    graph = DeployGraph(deployed, preprocess.size, about, calibration)
    planned(exporter, graph, timer).write(graph, path)
    return path


def find_exporter(suffix: str) -> type[Exporter]:
    """Find the exporter that writes files with this suffix, which starts with a dot.

    Raises:
        BadInput: there is none; the message lists the known suffixes.
    """
    exporters = (plugins.find(Exporter, name) for name in plugins.names(Exporter))
    found = {exporter.suffix: exporter for exporter in exporters}
    if suffix not in found:
        raise BadInput(f"'{suffix}' is not the suffix of a format ({', '.join(sorted(found))})")
    return found[suffix]


def require_converter(exporter: Exporter) -> None:
    """Raises MissingTool, with the remedy, if something that the conversion needs is not installed."""
    missing = [tool for tool in exporter.requires if environment.version(tool) is None]
    if missing:
        raise MissingTool(
            f"export to {exporter.format} needs {', '.join(missing)}, not installed here; "
            f'install with: pip install "compress-retrieval[{",".join(exporter.extras)}]"'
        )
    if (reason := exporter.unavailable()) is not None:
        raise MissingTool(f"export to {exporter.format}: {reason}")


def deploy(model: Model, *, name: str, license: str, calibration: np.ndarray | None = None) -> DeployGraph:
    """Make the graph of a trained model that every exporter writes, with its metadata.

    Args:
        calibration: uint8 [N, H, W, 3], for an exporter that needs calibration.
    """
    from exporters import _deploy

    return _deploy.deploy(model, name=name, license=license, calibration=calibration)


def planned(exporter: Exporter, graph: DeployGraph, timer: Timer | None = None) -> Exporter:
    """Fill in what an exporter leaves to measurements or limits, such as the plan; others are not changed.

    Raises:
        BadInput: a limit in bytes or time cannot be kept, or there is no timer to measure times.
        CompressError: as ``timer``.
    """
    from exporters import _plan

    return _plan.planned(exporter, graph, timer)


def _exporter(path: Path, precision: str, **options: Any) -> Exporter:
    from validators import suffix_of  # validators load NumPy

    try:
        exporter = find_exporter(suffix_of(path))
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    if (optimize := options["optimize"]) not in get_args(Optimize):
        raise BadInput(f"optimize: '{optimize}' is not one of {', '.join(get_args(Optimize))}")
    precisions = get_args(get_type_hints(exporter)["precision"])
    if precision not in precisions:
        raise BadInput(f"precision: '{precision}' is not supported by {exporter.format} ({', '.join(precisions)})")
    return exporter(precision=precision, **options)


def _check_calibration(exporter: Exporter, images: Any, size: tuple[int, int]) -> None:
    what = f"{exporter.format} {exporter.precision}"
    if not exporter.needs_calibration:
        if images is not None:
            raise BadInput(f"calibration: {what} uses no calibration images; remove it")
        return
    want = f"{what} needs uint8 training images [N, {size[0]}, {size[1]}, 3], a few hundred"
    if images is None:
        raise BadInput(f"calibration: {want}; none were given")
    found = f"{getattr(images, 'dtype', type(images).__name__)} {list(getattr(images, 'shape', ()))}"
    if found != f"uint8 {[len(images), *size, 3]}" or len(images) == 0:
        raise BadInput(f"calibration: {want}; got {found}")


def _size(value: Any) -> tuple[int, int]:
    size = value if isinstance(value, tuple | list) else (value, value)
    if len(size) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in size):
        raise BadInput(f"input_size: {value!r} must be one whole number of pixels above 0, or two: (height, width)")
    return size[0], size[1]


def _triple(name: str, values: Any) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{name}: {values!r} must be three numbers, one for each of red, green and blue") from error
    return red, green, blue


def _json_values(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise BadInput(f"metadata: must hold JSON values alone ({error})") from error
    return metadata
