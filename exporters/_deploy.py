"""The deployed graph every format gets: uint8 RGB -> normalise -> network -> (L2) -> embedding."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import compress
from compress.contracts import DeployGraph, EmbeddingSpec, Model, Preprocess
from exporters._fold_batchnorm import fold_batchnorm


class Deployed(nn.Module):
    """forward(image uint8 [N, 3, H, W], or float32 holding 0-255) -> embedding float32 [N, D].

    Normalisation is one multiplication and one addition, x / (255 std) - mean / std, so that it means the same in
    every format.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess, normalise_output: bool) -> None:
        super().__init__()
        self.network = fold_batchnorm(headless(network))
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (preprocess.mean, preprocess.std))
        self.register_buffer("scale", (1 / (255 * std)).float().reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).float().reshape(1, 3, 1, 1))
        self.normalise_output = normalise_output
        self.eval()
        self.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        embedding = self.network(image.to(torch.float32) * self.scale + self.shift)
        return F.normalize(embedding, dim=1) if self.normalise_output else embedding


def headless(network: nn.Module) -> nn.Module:
    """A copy whose forward gives the embedding; a network that has no classifier of ours is copied as it is."""
    network = copy.deepcopy(network)
    if hasattr(network, "embed") and hasattr(network, "classifier"):
        network.classifier = None  # type: ignore[assignment]
    return network


@torch.no_grad()
def embedding_dim(network: nn.Module, size: tuple[int, int]) -> int:
    """D of a network that may not say it itself."""
    return int(headless(network).cpu().eval()(torch.zeros(1, 3, *size)).shape[1])


def deploy_network(
    network: nn.Module, preprocess: Preprocess, embedding: EmbeddingSpec, metadata: Mapping[str, Any]
) -> DeployGraph:
    """The graph to export; ``network`` itself stays as it is.

    Raises:
        BadInput: ``network`` cannot be traced.
    """
    return DeployGraph(Deployed(network, preprocess, embedding.distance == "cosine"), preprocess.size, metadata)


def describe(
    *, name: str, license: str, architecture: str, preprocess: Preprocess, embedding: EmbeddingSpec
) -> dict[str, Any]:
    """The flat JSON object that is written into artifacts: enough to feed an image and to compare two outputs."""
    height, width = preprocess.size
    values = asdict(preprocess)
    return {
        "name": name,
        "version": compress.__version__,
        "license": license,
        "architecture": architecture,
        "input": f"image: uint8 RGB {height}x{width}, values 0-255; normalisation is inside",
        "output": f"embedding: float32, {embedding.dim} values",
        "height": height,
        "width": width,
        **{key: values[key] for key in ("crop", "interpolation", "antialias", "mean", "std")},
        "embedding_dim": embedding.dim,
        "embedding_kind": embedding.kind,
        "distance": embedding.distance,
    }


def deploy(model: Model, *, name: str, license: str) -> DeployGraph:
    """The graph of a trained model, with its metadata."""
    metadata = describe(
        name=name,
        license=license,
        architecture=model.architecture.component_name(),
        preprocess=model.preprocess,
        embedding=model.embedding,
    )
    return deploy_network(model.network, model.preprocess, model.embedding, metadata)
