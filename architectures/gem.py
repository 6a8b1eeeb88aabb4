"""CNN image retrieval with GeM pooling (Radenović, Tolias, Chum; TPAMI 2019, arXiv:1711.02512), over any network here.

Compared by cosine: L2 normalisation follows the pooling (section 3.2) or the projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from architectures._network import RepooledNetwork, build_trunk
from architectures.layers.gem import GeneralizedMean
from compress.contracts import Architecture, Distance, component_field
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class GeM(Architecture):
    """Embeds images by the generalised mean of the last feature map, with or without a linear layer.

    Attributes:
        trunk: the network whose last feature map is pooled.
        p: initial value of the exponent, which is learnt: 1 is average pooling; large values approach maximum pooling.
        dim: D of a linear layer after the pooling, whose weights the stage ``whiten`` can set; with None there is no
            such layer, and the embedding has one value per channel of the feature map.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("cosine", "l2")

    trunk: Architecture = component_field(Architecture, default="alnet")
    p: Annotated[float, Ge(1), Le(100)] = 3.0
    dim: Annotated[int, Ge(1), Le(65536)] | None = None

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        trunk = build_trunk(self.trunk)
        return RepooledNetwork(trunk, GeneralizedMean(self.p), trunk.channels, self.dim, num_classes)
