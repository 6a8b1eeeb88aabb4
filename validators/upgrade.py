"""Measure what a new model's queries find in a gallery that an older model made, wholly or in part.

The new model was trained to search there (``train.compatible_with``). Its embedding may have more values than the old
one, whose values are then followed by zeros: they change every distance of a query by the same amount or factor, so the
order of the gallery is that of the first values alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from compress.contracts import Distance, GroundTruth, HeldOut
from validators._bootstrap import interval
from validators._sampling import evenly
from validators.compatibility import Compared
from validators.held_out_part import sampled
from validators.metrics import evaluate_retrieval, nearest_neighbours, retrieve_listed
from validators.results import Flips, PartlyRebuilt

OLD = "old"
"""The old model's name among those that ``compatibility`` compares."""
SHARES = (0.0, 0.1, 0.3, 0.5, 1.0)


def widened(features: np.ndarray, dim: int) -> np.ndarray:
    """The old model's embeddings float32 [n, d], followed by zeros: [n, dim]."""
    return np.pad(features, ((0, 0), (0, dim - features.shape[1])))


def least_gain(old_gallery: Mapping[str, float | None]) -> tuple[float | None, str]:
    """The lowest mAP in the old gallery minus the old model's, and whose queries have it.

    Args:
        old_gallery: the row ``OLD`` of the compatibility matrix. A model whose mAP is not known counts as the lowest.
    """
    own = old_gallery[OLD]
    others = {name: value for name, value in old_gallery.items() if name != OLD}
    lowest = min(others, key=lambda name: -math.inf if (value := others[name]) is None else value)
    value = others[lowest]
    return (None if own is None or value is None else value - own), lowest


def gain_interval(compared: Compared, lowest: str) -> tuple[float, float]:
    """The 95 % confidence interval of ``least_gain``, by a paired bootstrap over the queries that have an answer.

    Args:
        compared: the models of the compatibility matrix.
        lowest: whose queries gain the least.
    """
    own, theirs = (compared.retrieved(asking, OLD).per_query_ap for asking in (lowest, OLD))
    return interval((own - theirs)[~np.isnan(own)])


def partly_rebuilt(
    new: tuple[np.ndarray, np.ndarray], old: tuple[np.ndarray, np.ndarray], held_out: HeldOut, distance: Distance
) -> tuple[PartlyRebuilt, ...]:
    """Score the new model's queries in galleries of which it has embedded more and more images.

    Args:
        new, old: each model's embeddings of the sampled queries [q, D] and gallery [g, D] (``sampled``); the old
            model's are ``widened``.
    """
    searched = _Searched(held_out, distance)
    before = searched.found(*old)
    done = []
    for share in SHARES:
        gallery = old[1].copy()
        again = evenly(len(gallery), round(share * len(gallery))) if share else np.empty(0, np.int64)
        gallery[again] = new[1][again]
        now = searched.found(new[0], gallery)
        flips = Flips(lost=int((before & ~now).sum()), gained=int((~before & now).sum()))
        done.append(PartlyRebuilt(share=share, mAP=searched.mean_ap(new[0], gallery), flips=flips))
    return tuple(done)


class _Searched:
    """The sampled held-out images, searched by any embeddings."""

    def __init__(self, held_out: HeldOut, distance: Distance) -> None:
        part = sampled(held_out)
        truth = held_out.ground_truth
        self._truth: GroundTruth | None = None if truth is None else truth.among(part.queries, part.gallery)
        self._labels = held_out.queries.labels[part.queries], held_out.gallery.labels[part.gallery]
        self._leave_one_out, self._distance = held_out.leave_one_out, distance

    def mean_ap(self, queries: np.ndarray, gallery: np.ndarray) -> float:
        if self._truth is not None:
            listed = retrieve_listed(queries, gallery, self._truth, distance=self._distance, metrics=("mAP",))
            return listed.scores["mAP"]
        return evaluate_retrieval(
            queries,
            gallery,
            *self._labels,
            distance=self._distance,
            metrics=("mAP",),
            exclude_self=self._leave_one_out,
        )["mAP"]

    def found(self, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Whether the nearest gallery image is relevant: bool [q]."""
        if self._truth is None:
            itself = np.arange(len(queries)) if self._leave_one_out else None
            nearest = nearest_neighbours(queries, gallery, 1, distance=self._distance, itself=itself)[:, 0]
            found: np.ndarray = self._labels[0] == self._labels[1][nearest]
            return found
        order = nearest_neighbours(queries, gallery, len(gallery), distance=self._distance)
        pairs = zip(order, self._truth.relevant, self._truth.junk, strict=True)
        return np.array([np.isin(row[~np.isin(row, junk)][:1], right).any() for row, right, junk in pairs])
