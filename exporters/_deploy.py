"""Make the graph that every format gets: uint8 RGB -> normalise -> network -> (L2) -> embedding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

import compress
from compress.contracts import BadInput, DeployGraph, Distance, EmbeddingSpec, Model, Preprocess
from compress.system.tracing import has_whole_modules, require_no_choices, trace
from exporters._costs import Costs
from exporters._file_exporter import FileExporter
from exporters._fold_batchnorm import fold_batchnorm
from exporters._learned_ranges import learned_ranges
from exporters._merge_branches import merge_branches
from exporters.rewrites import Choose, rewrite
from exporters.rewrites._choice import Cheapest, Form, Recorded, unchanged, weight_bytes
from exporters.rewrites.activate_in_place import ActivateInPlace
from exporters.rewrites.delegate_reductions import DelegateReductions
from exporters.rewrites.exact_resize import ExactResize
from exporters.rewrites.fold_normalisation import FoldNormalisation
from exporters.rewrites.merge_groups import MergeGroups
from exporters.rewrites.move_pieces import MovePieces
from exporters.rewrites.pad_pool import PadPool
from exporters.rewrites.place_shuffle import PlaceShuffle
from exporters.rewrites.reduce_channels import ReduceChannels
from exporters.rewrites.share_layer import ShareLayer
from exporters.rewrites.stride_first import StrideFirst
from exporters.rewrites.tile_convolution import TileConvolution


class Deployed(nn.Module):
    """forward(image uint8 [N, 3, H, W], or float32 holding 0-255) -> embedding float32 [N, D].

    Holds a copy of the network without its classifier: its method ``embed`` if there is one, otherwise ``forward``.
    Normalisation is one multiplication and one addition, x / (255 std) - mean / std, so that it means the same in
    every format.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess, distance: Distance) -> None:
        """Raises BadInput if ``network`` cannot be traced."""
        super().__init__()
        # A method, not a submodule: a layer called `embed` is part of the network.
        method = "embed" if callable(getattr(type(network), "embed", None)) else "forward"
        self.network = fold_batchnorm(network, method)
        merge_branches(self.network)
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (preprocess.mean, preprocess.std))
        self.register_buffer("scale", (1 / (255 * std)).float().reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).float().reshape(1, 3, 1, 1))
        self.l2_normalise = distance == "cosine"
        self.eval()
        self.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.network(image.to(torch.float32) * self.scale + self.shift)
        return F.normalize(embedding, dim=1) if self.l2_normalise else embedding


def embedding_dim(deployed: Deployed, size: tuple[int, int]) -> int:
    """Find D by running one black image.

    Raises:
        BadInput: the network does not take images of this size, or does not give one vector per image.
    """
    name = deployed.network.__class__.__name__
    black = torch.zeros(1, 3, *size, dtype=torch.uint8)
    try:
        embedding = deployed(black)
    except (RuntimeError, AssertionError) as error:  # the latter is timm's, for other sizes
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(f"input_size: {name} does not take {size[0]}x{size[1]} RGB images ({reason})") from error
    if has_whole_modules(deployed.network):
        _require_no_choices(deployed, black, name)
    if not isinstance(embedding, torch.Tensor) or embedding.ndim != 2 or embedding.dtype != torch.float32:
        got = f"{list(embedding.shape)}" if isinstance(embedding, torch.Tensor) else type(embedding).__name__
        raise BadInput(f"{name}: must give one float vector [N, D] per image, gave {got}; pool and flatten its output")
    return int(embedding.shape[1])


def _require_no_choices(deployed: Deployed, image: torch.Tensor, name: str) -> None:
    """Raises BadInput if the network's control flow depends on values: a file would hold one of its paths."""
    try:
        require_no_choices(deployed, image)
    except Exception as error:  # torch.export passes on any error of the network's code
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"{name}: cannot be exported because neither torch.fx nor torch.export can trace it ({reason}); remove "
            "control flow that depends on tensor values"
        ) from error


def describe(
    *, name: str, license: str, architecture: str, preprocess: Preprocess, embedding: EmbeddingSpec
) -> dict[str, Any]:
    """The flat JSON object written into artifacts: how to prepare a photograph and how to compare two outputs."""
    height, width = preprocess.size
    return {
        "name": name,
        "version": compress.__version__,
        "license": license,
        "architecture": architecture,
        "input": f"uint8 {preprocess.color} {height}x{width}",
        "color": preprocess.color,
        "resize": [height, width],
        "interpolation": preprocess.interpolation,
        "antialias": preprocess.antialias,
        "crop": preprocess.crop,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "normalization_folded": True,
        "embedding_dim": embedding.dim,
        "embedding_kind": embedding.kind,
        "distance": embedding.distance,
    }


def as_text(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Convert metadata for formats that store strings: sorted by key, other values than strings as JSON."""
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in sorted(metadata.items())}


def deploy(model: Model, *, name: str, license: str, calibration: np.ndarray | None) -> DeployGraph:
    """Make the graph of a trained model, with its metadata."""
    metadata = describe(
        name=name,
        license=license,
        architecture=model.architecture.component_name(),
        preprocess=model.preprocess,
        embedding=model.embedding,
    )
    deployed = Deployed(model.network, model.preprocess, model.embedding.distance)
    embedding_dim(deployed, model.preprocess.size)
    learned = learned_ranges(model, calibration) if model.ranges and calibration is not None else ()
    return DeployGraph(deployed, model.preprocess.size, metadata, calibration, learned)


def optimized(graph: DeployGraph, exporter: FileExporter) -> DeployGraph:
    """Rewrite the graph to run fast on the runtime of the exporter's files; outputs change by float rounding only.

    The metadata's ``rewrites`` list the variant chosen at each changed location.

    Raises:
        BadInput: the plan belongs to another network, or is missing because ``_plan.planned`` was not called before.
    """
    if exporter.optimize == "none":
        return graph
    if exporter.plan is not None:
        recorded = Recorded(exporter.plan)
        network, chosen = rewritten(graph, exporter.costs, recorded)
        recorded.check()
    elif exporter.optimize == "measured" or exporter.max_bytes is not None:
        raise BadInput("plan: missing; 'optimize: measured' and max_bytes need one, which exporters.planned makes")
    else:
        network, chosen = rewritten(graph, exporter.costs, Cheapest(_growth(graph, exporter)))
    text = ", ".join(f"{place}={form.name}" for place, form in chosen.items() if form.apply is not unchanged)
    return replace(graph, module=network, metadata={**graph.metadata, "rewrites": text})


def _growth(graph: DeployGraph, exporter: FileExporter) -> int | None:
    """Bytes by which rewrites may make the weights larger; None if there is no limit."""
    if exporter.optimize == "size":
        return 0
    share = exporter.costs.growth
    return None if share is None else int(share * weight_bytes(graph.module))


def rewritten(graph: DeployGraph, estimates: Costs, choose: Choose) -> tuple[fx.GraphModule, dict[str, Form]]:
    """Rewrite a copy of the graph's network; also returns the variant at each location."""
    network = fx.GraphModule(*trace(graph.module), "Deployed")
    phases = (
        (ExactResize(estimates), StrideFirst(estimates)),
        (FoldNormalisation(estimates), ShareLayer()),
        (MovePieces(estimates),),
        (PlaceShuffle(estimates), TileConvolution(estimates)),
        # Only the groups of convolutions that no shuffle has made dense.
        (MergeGroups(estimates), ReduceChannels(estimates), DelegateReductions(estimates), PadPool(estimates)),
        (ActivateInPlace(estimates),),
    )
    example = torch.zeros(1, 3, *graph.input_size, dtype=torch.uint8)
    chosen = rewrite(network, phases, example, choose)
    return network.eval(), chosen
