"""Tuples of a query, one positive and mined negatives (Radenović, Tolias, Chum; TPAMI 2019, sections 3.2 and 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compress.contracts import BadInput, TrainingPairs
from compress.data.splits import by_class

Features = Callable[[np.ndarray], np.ndarray]
"""Computes the embeddings, float32 [n, D], of training images, int64 [n], with the weights of the moment."""

_QUERIES_AT_A_TIME = 256
_SQUARE_OF_NOTHING = 1e-12


@dataclass(frozen=True)
class MinedTuples:
    """Orders the images of an epoch as tuples: query, positive, then the negatives, nearest first.

    Attributes:
        labels: int64 [N], the cluster of each training image.
        pairs: queries and positives; None draws another image of the query's cluster.
        negatives: number of negatives of a query: the images of the pool that are nearest to it, none of its own
            cluster, and no two of one cluster.
        queries, pool: how many are drawn for an epoch; None takes all.
        batch_size: images in a step, a multiple of ``negatives`` + 2.
    """

    labels: np.ndarray
    pairs: TrainingPairs | None
    negatives: int
    queries: int | None
    pool: int | None
    batch_size: int

    @property
    def steps(self) -> int:
        """Number of whole batches in an epoch."""
        return self._drawn * (self.negatives + 2) // self.batch_size

    @property
    def _drawn(self) -> int:
        available = len(self._askable) if self.pairs is None else len(self.pairs)
        return available if self.queries is None else min(self.queries, available)

    @property
    def _askable(self) -> np.ndarray:
        """Images whose cluster has another one: int64."""
        _, own, sizes = np.unique(self.labels, return_inverse=True, return_counts=True)
        return np.flatnonzero(sizes[own] > 1)

    def order(self, random: np.random.Generator, features: Features) -> np.ndarray:
        """Draw queries and pool, and mine the negatives once: int64 [steps * batch_size].

        Raises:
            BadInput: the pool that was drawn has too few clusters.
        """
        queries, positives = self._pairs(random)
        size = len(self.labels)
        pool = np.sort(random.permutation(size)[: size if self.pool is None else self.pool])
        if (clusters := len(np.unique(self.labels[pool]))) <= self.negatives:
            raise BadInput(
                f"mined_pairs.pool: {len(pool)} images were drawn, of {clusters} clusters; each of a query's "
                f"{self.negatives} negatives is of another one, so raise it"
            )
        rows = np.union1d(queries, pool)
        found = unit(features(rows))
        asked, searched = found[np.searchsorted(rows, queries)], found[np.searchsorted(rows, pool)]
        negatives = hardest(asked, searched, self.labels[queries], self.labels[pool], self.negatives)
        tuples = np.column_stack([queries, positives, pool[negatives]])
        return np.asarray(tuples.ravel()[: self.steps * self.batch_size])

    def _pairs(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if self.pairs is not None:
            rows = random.permutation(len(self.pairs))[: self._drawn]
            return self.pairs.queries[rows], self.pairs.positives[rows]
        queries = random.permutation(self._askable)[: self._drawn]
        members = {int(self.labels[rows[0]]): rows for rows in by_class(self.labels)}
        positives = []
        for query in queries:
            others = members[int(self.labels[query])]
            others = others[others != query]
            positives.append(others[int(random.integers(len(others)))])
        return queries, np.array(positives, dtype=np.int64)


def unit(features: np.ndarray) -> np.ndarray:
    """Scale rows to length 1."""
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def hardest(
    queries: np.ndarray, pool: np.ndarray, query_clusters: np.ndarray, pool_clusters: np.ndarray, count: int
) -> np.ndarray:
    """Choose for each query the ``count`` nearest images of the pool, each of another cluster and none of its own.

    Args:
        queries, pool: [Q, D] and [P, D], rows of length 1.
        query_clusters, pool_clusters: int64 [Q] and [P]; the pool has ``count`` clusters beside any query's own.

    Returns:
        int64 [Q, count], nearest first; of equally near images the first.
    """
    chosen = np.empty((len(queries), count), dtype=np.int64)
    for start in range(0, len(queries), _QUERIES_AT_A_TIME):
        some = slice(start, start + _QUERIES_AT_A_TIME)
        ranked = np.argsort(-(queries[some] @ pool.T), axis=1, kind="stable")
        for row, order in enumerate(ranked, start=start):
            clusters = pool_clusters[order]
            # The first image of each cluster in the ranking, in the ranking's order.
            firsts = np.sort(np.unique(clusters, return_index=True)[1])
            chosen[row] = order[firsts[clusters[firsts] != query_clusters[row]][:count]]
    return chosen


class TupleContrastive(nn.Module):
    """The contrastive loss of each tuple's pairs, equation 4: d^2 / 2 of query and positive, and
    max(margin - d, 0)^2 / 2 of query and each negative, d between L2-normalised embeddings.

    The batch's loss is the mean over its tuples of the sum over a tuple's pairs.
    """

    def __init__(self, margin: float, negatives: int) -> None:
        super().__init__()
        self.margin = margin
        self.size = negatives + 2

    def forward(self, embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        tuples = F.normalize(embeddings).unflatten(0, (-1, self.size))
        squares = (tuples[:, :1] - tuples[:, 1:]).square().sum(2)
        # A distance of 0 has no gradient.
        short = F.relu(self.margin - (squares[:, 1:] + _SQUARE_OF_NOTHING).sqrt())
        loss: torch.Tensor = (squares[:, 0] + short.square().sum(1)).mean() / 2
        return loss
