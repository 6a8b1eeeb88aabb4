"""Training on pairs with mined negatives, "CNN-IRwNHA" (Radenović, Tolias, Chum; TPAMI 2019, arXiv:1711.02512)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from torch import nn

from compress.contracts import BadInput, Data, Distance, Division, Loss, Model, Stage, flat_field
from compress.stages._fit import fit
from compress.stages._training import Training
from compress.stages._tuples import MinedTuples, TupleContrastive


@dataclass(frozen=True, kw_only=True)
class MinedPairs(Stage):
    """Train on tuples of a query, an image that shows the same thing, and the most similar images of other clusters.

    The negatives of a query are found once per epoch, with the weights of the moment: the nearest images of the pool,
    none of the query's cluster (its class) and no two of one cluster. Query and positive are pairs that the data set
    lists (retrieval-SfM); otherwise the positive is another image of the query's class. The loss is the contrastive
    one, equation 4 there, and the weights with the best validation mAP are kept. A batch holds ``batch_size`` /
    (``negatives`` + 2) tuples.

    Attributes:
        negatives: mined images for each query; 5 in the paper.
        queries: queries drawn for an epoch; null takes every pair, or every image. 2,000 in the paper.
        pool: images drawn for an epoch that negatives are searched in; null takes all. 20,000 in the paper.
        margin: tau; negatives that are farther apart have no loss. 0.7 for VGG and 0.85 for ResNet in the paper.
    """

    trains: ClassVar[bool] = True

    training: Training = flat_field(Training, epochs=30, batch_size=35, lr=0.001, schedule="cosine")
    negatives: Annotated[int, Ge(1)] = 5
    queries: Annotated[int, Ge(1)] | None = 2000
    pool: Annotated[int, Ge(2)] | None = 20000
    margin: Annotated[float, Gt(0), Le(2)] = 0.85

    def check(self, model: Model) -> Model:
        if self.training.loss.component_name() != "cross_entropy" or any(self.training.loss.options().values()):
            raise BadInput("loss: mined_pairs has its own loss; remove this option and set margin")
        if self.training.per_class is not None:
            raise BadInput("per_class: mined_pairs composes its batches itself; remove this option")
        size = self.negatives + 2
        if self.training.batch_size % size:
            raise BadInput(
                f"batch_size: {self.training.batch_size} images are no whole number of tuples of {size}; set it to a "
                f"multiple of {size}"
            )
        self._training.check(model)
        return replace(model, space=None)

    def check_data(self, division: Division) -> None:
        self._training.check_data(division)
        labels, sizes = np.unique(division.train, return_counts=True)
        if len(labels) <= self.negatives:
            raise BadInput(
                f"negatives: {len(labels)} classes train, and each negative of a query is of another one; set "
                f"{len(labels) - 1} or less"
            )
        if sizes.max() < 2:
            raise BadInput("mined_pairs: no class has two training images; add photographs")

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        tuples = MinedTuples(
            data.train.labels, data.pairs, self.negatives, self.queries, self.pool, self.training.batch_size
        )
        if not tuples.steps:
            raise BadInput(
                f"mined_pairs.batch_size: {self.training.batch_size} images are more than an epoch's tuples; lower it"
            )
        name = self.component_name()
        return fit(name, self._training, model, data, seed=seed, scratch=scratch, tuples=tuples, parallel=False).model

    @property
    def _training(self) -> Training:
        return replace(self.training, loss=_Tuples(margin=self.margin, negatives=self.negatives))


@dataclass(frozen=True, kw_only=True)
class _Tuples(Loss):
    """The stage's own loss, as ``fit`` builds it."""

    distance: ClassVar[Distance | None] = "cosine"
    classifies: ClassVar[bool] = False

    margin: float
    negatives: int

    def build(self, embedding_dim: int, num_classes: int) -> nn.Module:
        return TupleContrastive(self.margin, self.negatives)
