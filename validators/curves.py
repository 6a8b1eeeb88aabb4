"""Compute precision over recall, and average precision by query; both are exact under ties, as the metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.contracts import EmbeddingSpec, GroundTruth, HeldOut, Observation
from validators import _rankings
from validators._distances import Distances
from validators._rankings import Rankings
from validators._sampling import evenly

RECALL = tuple(step / 20 for step in range(21))
"""Recall levels of a curve; the value at 0 is the precision at the first hit."""


@dataclass(frozen=True)
class Curves:
    """Precision over recall and average precision of q queries.

    Attributes:
        precision: float64 [21], at each of ``RECALL``, the mean over the queries that have a relevant item: the
            precision at which max(1, ceil(recall * R)) of the R relevant items have been found. Not interpolated. NaN
            without a query.
        average_precision: float64 [q], by the rule of ``mAP``; NaN for a query without a relevant item.
    """

    precision: np.ndarray
    average_precision: np.ndarray


def spread(labels: np.ndarray, per_class: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Choose at most ``per_class`` indices of each class, evenly spaced in it: int64, increasing.

    Args:
        labels: int64 [N].
        rows: choose among these indices only.
    """
    among = np.arange(len(labels)) if rows is None else rows
    order = np.argsort(labels[among], kind="stable")
    members = np.split(among[order], np.flatnonzero(np.diff(labels[among[order]])) + 1)
    return np.sort(np.concatenate([each[evenly(len(each), per_class)] for each in members]))


def curves(observation: Observation, rows: np.ndarray, held_out: HeldOut, embedding: EmbeddingSpec) -> Curves:
    """Search the whole gallery with the queries ``rows`` (int64 [q]).

    Raises:
        ValueError: a feature is NaN or infinite, or an activation of a code is outside [0, 1].
    """
    distances = Distances(observation.queries[rows], observation.gallery, embedding.distance)
    form = held_out.ground_truth.form if held_out.ground_truth is not None else "step"
    precision, average = np.empty((len(rows), len(RECALL))), np.empty(len(rows))
    for block in distances.block_rows():
        values = distances.block(block)
        if held_out.ground_truth is not None:
            relevant = _listed(values, rows[block], held_out.ground_truth)
        else:
            relevant = held_out.queries.labels[rows[block], None] == held_out.gallery.labels
        if held_out.leave_one_out:
            itself = np.arange(values.shape[1]) == rows[block, None]
            shape = (len(values), values.shape[1] - 1)
            values, relevant = values[~itself].reshape(shape), relevant[~itself].reshape(shape)
        order = np.argsort(values, axis=1)
        ranked = (np.take_along_axis(values, order, 1), np.take_along_axis(relevant, order, 1))
        rankings = _rankings.from_sorted(*ranked)
        average[block] = _rankings.average_precision(rankings, max(rankings.length, 1), "relevant", form)
        precision[block] = _precision_at(rankings)
    answered = ~np.isnan(average)
    mean = precision[answered].mean(axis=0) if answered.any() else np.full(len(RECALL), np.nan)
    return Curves(mean, average)


def _listed(values: np.ndarray, rows: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """Mark the relevant items, bool of the shape of ``values``; in these distances, junk is moved to the end."""
    relevant = np.zeros(values.shape, dtype=bool)
    for place, query in enumerate(rows):
        relevant[place, truth.relevant[query]] = True
        values[place, truth.junk[query]] = np.inf
    return relevant


def _precision_at(rankings: Rankings) -> np.ndarray:
    """Precision at each recall: float64 [Q, 21]; in a tie the hits are spread evenly, the average over its orders."""
    # Rounded first, because 0.15 * 20 is a little above 3.
    wanted = np.ceil(np.round(np.outer(rankings.relevant, RECALL), 9)).astype(np.int64).clip(min=1)
    result = np.full(wanted.shape, np.nan)
    answered = rankings.relevant > 0
    earlier = np.cumsum(rankings.relevant)[answered] - rankings.relevant[answered]
    wanted = wanted[answered]
    group = np.searchsorted(np.cumsum(rankings.hits), earlier[:, None] + wanted)
    inside = (wanted - rankings.hits_before[group]) / rankings.hits[group] * rankings.size[group]
    result[answered] = wanted / (rankings.before[group] + inside)
    return result
