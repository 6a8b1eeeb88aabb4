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
            such layer, and the embedding has one value per channel of the feature map. The layer starts as the
            identity if it has as many outputs as inputs.
        sizes: heights and widths in pixels of an image pyramid for every image, query or not: the mean of the pooled
            features of all sizes, each of length 1, enters the linear layer (section 5.1 there: scales 1, 1/sqrt(2)
            and 1/2). Empty: the image's own size alone.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("cosine", "l2")

    trunk: Architecture = component_field(Architecture, default="alnet")
    p: Annotated[float, Ge(1), Le(100)] = 3.0
    dim: Annotated[int, Ge(1), Le(65536)] | None = None
    sizes: tuple[Annotated[int, Ge(32), Le(2048)], ...] = ()

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        trunk = build_trunk(self.trunk)
        pool = GeneralizedMean(self.p)
        return RepooledNetwork(trunk, pool, trunk.channels, self.dim, num_classes, self.sizes)
