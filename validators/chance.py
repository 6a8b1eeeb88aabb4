"""The score of a random order of the gallery: a network below it has learnt nothing that search can use."""

from __future__ import annotations

import numpy as np

from compress.contracts import HeldOut


def chance_average_precision(relevant: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Compute the mean average precision over all orders of a gallery: float64 [Q].

    An item at rank k is relevant with probability R / N, and then (k - 1)(R - 1) / (N - 1) of those before it are, so
    that the mean is (H_N + (R - 1)(N - H_N) / (N - 1)) / N, with the harmonic number H_N.

    Args:
        relevant: int64 [Q], R of each query; if it is 0, the result is NaN.
        total: int64 [Q], N, the number of images that are ranked.
    """
    harmonic = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, int(total.max(initial=0)) + 1))))[total]
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = np.where(total > 1, (relevant - 1) * (total - harmonic) / (total - 1), 0.0)
        found: np.ndarray = (harmonic + rest) / total
    return np.where(relevant > 0, found, np.nan)


def counts(held_out: HeldOut, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of relevant images of the queries ``rows``, and the number of ranked images, int64 each."""
    gallery, itself = len(held_out.gallery), int(held_out.leave_one_out)
    truth = held_out.ground_truth
    if truth is not None:
        relevant = np.array([len(truth.relevant[row]) for row in rows.tolist()], dtype=np.int64)
        return relevant, gallery - np.array([len(truth.junk[row]) for row in rows.tolist()], dtype=np.int64)
    labels, sizes = np.unique(held_out.gallery.labels, return_counts=True)
    own = held_out.queries.labels[rows]
    place = np.searchsorted(labels, own).clip(max=len(labels) - 1)
    relevant = np.where(labels[place] == own, sizes[place], 0) - itself
    return relevant, np.full(len(rows), gallery - itself)
