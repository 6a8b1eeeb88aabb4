"""Contrastive loss (Hadsell, Chopra, LeCun, CVPR 2006) as GeM was trained (Radenović et al. 2019, eq. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from torch import nn

from compress.losses._metric import MetricLoss, Mined


@dataclass(frozen=True, kw_only=True)
class Contrastive(MetricLoss):
    """Pairs of one class lose d^2 / 2, pairs of two classes max(margin - d, 0)^2 / 2; d is the distance, 0 to 2.

    The batch's loss is the mean over the pairs of one class plus the mean over the pairs of two, each over those that
    lose anything.

    Attributes:
        margin: tau; pairs of different classes that are farther apart add no loss. 0.7 to 0.85 in the paper.
        mining: ``hard`` takes for each image the farthest of its class and the nearest of another, ``all`` every pair.
    """

    margin: Annotated[float, Gt(0), Le(2)] = 0.7
    mining: Literal["all", "hard"] = "all"

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        from pytorch_metric_learning import losses, miners

        class Squared(losses.ContrastiveLoss):  # type: ignore[misc]
            """The library's own is linear in the distance."""

            def pos_calc(self, pos_pair_dist: Any, margin: float) -> Any:
                return super().pos_calc(pos_pair_dist, margin) ** 2 / 2

            def neg_calc(self, neg_pair_dist: Any, margin: float) -> Any:
                return super().neg_calc(neg_pair_dist, margin) ** 2 / 2

        loss = Squared(pos_margin=0, neg_margin=self.margin)
        return Mined(loss, miners.BatchHardMiner() if self.mining == "hard" else None)
