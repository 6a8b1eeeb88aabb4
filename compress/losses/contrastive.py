"""Contrastive loss (Hadsell, Chopra, LeCun, CVPR 2006) as GeM was trained (Radenović et al. 2019, eq. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from torch import nn

from compress.losses._metric import MetricLoss, Mined


@dataclass(frozen=True, kw_only=True)
class Contrastive(MetricLoss):
    """Pull pairs of one class together and push pairs of two classes apart, up to ``margin``.

    The loss is d^2 / 2 for a pair of one class and max(margin - d, 0)^2 / 2 for a pair of two classes; d is the
    distance, 0 to 2. The batch's loss is the mean over the pairs of one class plus the mean over the pairs of two
    classes, each over the pairs with a loss above 0.

    Attributes:
        margin: tau; pairs of different classes that are farther apart have no loss. 0.7 to 0.85 in the paper.
        mining: ``hard`` uses for each image the farthest of its class and the nearest of another, ``all`` every pair.
    """

    margin: Annotated[float, Gt(0), Le(2)] = 0.7
    mining: Literal["all", "hard"] = "all"

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        from pytorch_metric_learning import losses, miners

        class Squared(losses.ContrastiveLoss):  # type: ignore[misc]
            """Squares the distance; the library's loss is linear in it."""

            def pos_calc(self, pos_pair_dist: Any, margin: float) -> Any:
                return super().pos_calc(pos_pair_dist, margin) ** 2 / 2

            def neg_calc(self, neg_pair_dist: Any, margin: float) -> Any:
                return super().neg_calc(neg_pair_dist, margin) ** 2 / 2

        loss = Squared(pos_margin=0, neg_margin=self.margin)
        return Mined(loss, miners.BatchHardMiner() if self.mining == "hard" else None)
