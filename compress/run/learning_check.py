"""Check before exporting that the network has learnt something, so that no file is blamed for the network."""

from __future__ import annotations

import numpy as np

from compress.contracts import CompressError
from compress.run.check_context import CheckContext
from validators._sampling import affordable, evenly
from validators.chance import chance_average_precision, counts
from validators.metrics import retrieve, retrieve_listed
from validators.results import Measured, Part

QUERIES = 1000
"""At most this many queries are compared with chance."""
_LEAST_SPREAD = 1e-5
"""Rounding alone moves float32 embeddings by about 1e-7 of their length."""
_LEAST_GAIN = 0.1
"""mAP above chance, as a share of chance, or of what is missing to 1 where that is less. An ALNet that had named the
largest class in every epoch was 7 % above it, on 372 photographs: an untrained trunk, too, sorts images by colour."""
_REMEDY = "train longer, with a lower train.lr or train.clip_norm: 1, or on more images"


class Learned(Part):
    """How well the PyTorch model's own embeddings search, compared with chance.

    Attributes:
        spread: root mean square distance of the queries' embeddings from their mean, in units of their length.
        mean_ap, chance: of the queries that have an answer; None where none has.
        answerable: share of the queries that have a relevant image in the gallery.
    """

    spread: Measured
    mean_ap: Measured
    chance: Measured
    answerable: Measured


def require_learned(context: CheckContext) -> None:
    """Raises CompressError, in one sentence with a remedy, if the network is useless for search."""
    found = context.work.reuse_as(Learned, "learned", context.key, [], lambda _: _measured(context))
    problem = _problem(found, len(context.held_out.queries))
    if problem is not None:
        raise CompressError(f"{problem}; nothing was exported")


def _problem(found: Learned, queries: int) -> str | None:
    if found.spread is None:
        return f"the network gives NaN or infinity for held-out images: training diverged; {_REMEDY}"
    if found.spread < _LEAST_SPREAD:
        return (
            f"the network gives every image the same embedding (spread {found.spread:.1e} of its length): it has "
            f"learnt nothing; {_REMEDY}"
        )
    if not found.answerable:
        return (
            f"none of the {queries} queries has a relevant image in the gallery, so that nothing can be measured; give "
            "each class at least two test images"
        )
    if found.mean_ap is None or found.chance is None:
        return "the network's embeddings cannot be ranked"
    if found.mean_ap < found.chance + _LEAST_GAIN * min(found.chance, 1 - found.chance):
        return (
            f"the network finds no more than a random order does (mAP {found.mean_ap:.4f}, chance {found.chance:.4f}), "
            f"so it has learnt nothing that search can use; {_REMEDY}"
        )
    return None


def _measured(context: CheckContext) -> Learned:
    reference, held_out, embedding = context.reference, context.held_out, context.model.embedding
    features = reference.queries.astype(np.float64)
    nothing = Learned(spread=None, mean_ap=None, chance=None, answerable=None)
    if not np.isfinite(features).all():
        return nothing
    length = np.sqrt(np.square(features).sum(axis=1).mean())
    spread = float(np.sqrt(np.square(features - features.mean(axis=0)).sum(axis=1).mean()) / length) if length else 0.0
    rows = evenly(len(features), affordable(QUERIES, embedding))
    relevant, total = counts(held_out, rows)
    answerable = float(np.mean(relevant > 0))
    known = nothing.model_copy(update={"spread": spread, "answerable": answerable})
    if spread < _LEAST_SPREAD or not answerable:
        return known
    try:
        precisions = _average_precisions(context, rows)
    except ValueError:
        return known
    chance = chance_average_precision(relevant, total)
    return known.model_copy(update={"mean_ap": float(np.nanmean(precisions)), "chance": float(np.nanmean(chance))})


def _average_precisions(context: CheckContext, rows: np.ndarray) -> np.ndarray:
    """Average precision of the queries ``rows`` in the whole gallery, float64; NaN without a relevant image."""
    reference, held_out, distance = context.reference, context.held_out, context.model.embedding.distance
    if held_out.ground_truth is not None:
        truth = held_out.ground_truth.among(rows, np.arange(len(reference.gallery)))
        return retrieve_listed(
            reference.queries[rows], reference.gallery, truth, distance=distance, metrics=("mAP",)
        ).per_query_ap
    labels = held_out.queries.labels
    if not held_out.leave_one_out:
        return retrieve(
            reference.queries[rows],
            reference.gallery,
            labels[rows],
            held_out.gallery.labels,
            distance=distance,
            metrics=("mAP",),
        ).per_query_ap
    found: np.ndarray = retrieve(
        reference.queries, reference.gallery, labels, labels, distance=distance, metrics=("mAP",), exclude_self=True
    ).per_query_ap[rows]
    return found
