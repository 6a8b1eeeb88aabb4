"""Measure what an artifact retrieves if an app prepares photographs in another way than ``preprocess`` says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compress.contracts import EmbeddingSpec, HeldOut, Observation
from validators._distances import Distances
from validators.metrics import average_precision
from validators.results import PhotoWay, PhotoWays


def judge_ways(
    candidate: Observation,
    rows: np.ndarray,
    pixels: Mapping[str, np.ndarray],
    embeddings: Mapping[str, np.ndarray],
    held_out: HeldOut,
    embedding: EmbeddingSpec,
) -> PhotoWays:
    """Search the artifact's own gallery with photographs that were prepared in other ways.

    Args:
        candidate: the artifact's embeddings of the held-out images.
        rows: int64 [n], the queries that were prepared in other ways.
        pixels: way -> uint8 [n, H, W, 3].
        embeddings: way -> float32 [n, D], the artifact's.
    """
    right = np.asarray(held_out.queries.images[rows])
    normal = _mean_ap(candidate.queries[rows], candidate, rows, held_out, embedding)
    found = []
    for way, given in pixels.items():
        apart = np.abs(given.astype(np.int16) - right)
        try:
            score = _mean_ap(embeddings[way], candidate, rows, held_out, embedding)
        except ValueError:  # NaN, or activations outside [0, 1]
            score = float("nan")
        found.append(
            PhotoWay(
                way=way,
                bytes_changed=float((apart > 0).mean()),
                mean_levels=float(apart.mean()),
                mAP=score,
                mAP_drop=normal - score,
            )
        )
    drops = [float("nan") if way.mAP_drop is None else way.mAP_drop for way in found]
    worst = int(np.argmax(drops))  # the first NaN, if there is one
    return PhotoWays(queries=len(rows), mAP=normal, mAP_drop=drops[worst], worst=found[worst].way, ways=tuple(found))


def _mean_ap(
    queries: np.ndarray, candidate: Observation, rows: np.ndarray, held_out: HeldOut, embedding: EmbeddingSpec
) -> float:
    """Mean average precision of the queries in ``rows`` without those that have no answer; NaN if none has one."""
    measured = Distances(queries, candidate.gallery, embedding.distance)
    truth, labels = held_out.ground_truth, held_out.gallery.labels
    scores = []
    for number, row in enumerate(rows.tolist()):
        junk = np.zeros(len(candidate.gallery), bool)
        relevant = np.zeros(len(candidate.gallery), bool)
        if truth is None:
            relevant[:] = labels == held_out.queries.labels[row]
            if held_out.leave_one_out:
                junk[row] = True
        else:
            relevant[truth.relevant[row]] = True
            junk[truth.junk[row]] = True
        if (relevant & ~junk).any():
            form = "step" if truth is None else truth.form
            distances = measured.block(slice(number, number + 1))[0]
            scores.append(average_precision(-distances, relevant, junk=junk, form=form))
    return float(np.mean(scores)) if scores else float("nan")
