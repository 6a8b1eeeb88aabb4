"""Any network with a learnt linear map to an embedding of another size, such as a teacher's or an index's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import nn

from architectures._network import linear_classifier
from compress.contracts import Architecture, BadInput, component_field
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class Projected(Architecture):
    """Adds a learnt linear map to another network's embedding; the classifier reads the projected embedding.

    Attributes:
        trunk: the network whose pooled feature is projected.
        dim: D, number of values of the embedding.
    """

    trunk: Architecture = component_field(Architecture, default="alnet")
    dim: Annotated[int, Ge(1), Le(65536)] = 128

    def __post_init__(self) -> None:
        if "hamming" in self.trunk.distances:
            raise BadInput(f"trunk: {self.trunk.component_name()} gives hash codes; name a plain network")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        return _Projected(self.trunk.build(), self.dim, linear_classifier(self.dim, num_classes))


class _Projected(RetrievalNetwork):
    def __init__(self, trunk: RetrievalNetwork, dim: int, classifier: nn.Module | None) -> None:
        super().__init__()
        self.trunk = trunk
        # A convolution, because every converter and pruning support it.
        self.projection = nn.Conv2d(trunk.embedding_dim, dim, 1)
        self.embedding_dim = dim
        self.classifier = classifier

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.projection(self.trunk(x)[:, :, None, None])
        return embedding.flatten(1)

    def linear_end(self) -> nn.Conv2d:
        return self.projection
