"""ArcFace (Deng et al., CVPR 2019, arXiv:1801.07698): softmax over angles, with a margin at the right class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import nn

from compress.losses._metric import MetricLoss, Mined


@dataclass(frozen=True, kw_only=True)
class ArcFace(MetricLoss):
    """Softmax cross-entropy of ``scale`` * cos(angle + ``margin`` at the right class), eq. 3 there.

    The angles are between the embedding and one vector per class. The loss learns these vectors; they are not saved
    with the network. Beyond pi - margin the cosine would rise again, so it is continued linearly, as in the authors'
    code.

    Attributes:
        scale: s. 64 suits millions of faces; with fewer classes use 30 or less.
        margin: m in radians.
    """

    scale: Annotated[float, Gt(0)] = 64.0
    margin: Annotated[float, Ge(0), Lt(math.pi)] = 0.5

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        from pytorch_metric_learning import losses

        return Mined(losses.ArcFaceLoss(num_classes, embedding_dim, margin=math.degrees(self.margin), scale=self.scale))
