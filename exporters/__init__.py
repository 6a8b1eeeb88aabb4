"""File formats for phones: ``<name>.py`` holds one Exporter. Nothing heavy loads before a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from compress import plugins
from compress.contracts import BadInput, Distance, EmbeddingSpec, Exporter, MissingTool, Preprocess

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from compress.contracts import DeployGraph, Model

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
) -> Path:
    """Write ``model`` as an artifact that takes uint8 RGB and gives ``embedding``; the suffix names the format.

    Args:
        model: takes normalised float32 [N, 3, H, W]; a classifier of ours is left away.
        path: .pt, .ptl, .onnx, .tflite or .mlpackage.
        input_size: height and width in pixels, or one number for both.
        precision: one that the format has.
        mean, std: per RGB channel, for values in [0, 1]; they move into the artifact.
        calibration: uint8 images [N, H, W, 3] for precisions that need activation ranges.
        distance: cosine adds an L2 normalisation of the output.
        metadata: flat JSON values to write into the file beside those about input and output.

    Raises:
        BadInput: unknown suffix or precision, calibration where none is used, or a model that cannot be traced.
        MissingTool: the converter is not installed.
    """
    path = Path(path)
    exporter_class = find_exporter(path.suffix)
    precisions = get_args(get_type_hints(exporter_class)["precision"])
    if precision not in precisions:
        raise BadInput(f"precision: {exporter_class.format} has {', '.join(precisions)}, not '{precision}'")
    if calibration is not None:
        raise BadInput(f"calibration: {exporter_class.format} {precision} stores floats and uses no calibration images")
    size = (input_size, input_size) if isinstance(input_size, int) else input_size

    from exporters._deploy import deploy_network, describe, embedding_dim

    preprocess = Preprocess(size, mean=tuple(mean), std=tuple(std))
    embedding = EmbeddingSpec(embedding_dim(model, size), distance=distance)
    described = describe(
        name=path.stem,
        license="unspecified",
        architecture=type(model).__name__,
        preprocess=preprocess,
        embedding=embedding,
    )
    graph = deploy_network(model, preprocess, embedding, {**described, **(metadata or {})})
    exporter = exporter_class(precision=precision)
    try:
        exporter.write(graph, path)
    except ModuleNotFoundError as error:
        raise MissingTool(
            f"{path.name}: writing {exporter.format} needs the Python package '{error.name}', not installed here; "
            'install with: pip install "compress-retrieval[all]"'
        ) from error
    return path


def find_exporter(suffix: str) -> type[Exporter]:
    """The exporter that writes files of this suffix.

    Raises:
        BadInput: there is none; the message lists the suffixes there are.
    """
    found = {}
    for name in plugins.names("exporters"):
        exporter = plugins.find("exporters", name)
        assert issubclass(exporter, Exporter)
        found[exporter.suffix] = exporter
    if suffix not in found:
        raise BadInput(f"'{suffix}' is not the suffix of a format ({', '.join(sorted(found))})")
    return found[suffix]


def deploy(model: Model, *, name: str, license: str) -> DeployGraph:
    """The graph of a trained model that every exporter writes, with its metadata."""
    from exporters import _deploy

    return _deploy.deploy(model, name=name, license=license)
