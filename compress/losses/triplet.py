"""Triplet loss (Schroff, Kalenichenko, Philbin, CVPR 2015, arXiv:1503.03832) on L2-normalised embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le
from torch import nn

from compress.losses._metric import MetricLoss, Mined


@dataclass(frozen=True, kw_only=True)
class Triplet(MetricLoss):
    """Make images of another class farther away than images of the same class, by ``margin``.

    The loss of a triplet is max(d(a, p) - d(a, n) + margin, 0) for an image a, another image p of its class and an
    image n of another class; d is the distance, 0 to 2. The batch's loss is the mean over the triplets with a loss
    above 0.

    Attributes:
        margin: by how much farther the image of the other class must be.
        mining: which triplets are used. ``all``: all of the batch; ``semihard``: those whose n is farther than p, but
            by less than the margin (Schroff et al.); ``hard``: for each a the farthest p and the nearest n (Hermans et
            al. 2017); ``easy_positive``: for each a the nearest p and the nearest n that is farther (Xuan et al. 2020),
            which does not force dissimilar images of a class together.
    """

    margin: Annotated[float, Gt(0), Le(2)] = 0.2
    mining: Literal["all", "semihard", "hard", "easy_positive"] = "semihard"

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        from pytorch_metric_learning import distances, losses, miners

        distance = distances.LpDistance()  # the miners' own default is the cosine
        miner = {
            "all": lambda: None,
            "semihard": lambda: miners.TripletMarginMiner(self.margin, "semihard", distance=distance),
            "hard": lambda: miners.BatchHardMiner(distance=distance),
            "easy_positive": lambda: miners.BatchEasyHardMiner("easy", "semihard", distance=distance),
        }[self.mining]()
        return Mined(losses.TripletMarginLoss(self.margin, distance=distance), miner)
