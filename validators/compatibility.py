"""Measure mAP if one artifact makes the gallery and another the queries, e.g. a server and its phones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.contracts import EmbeddingSpec, HeldOut, ImageArray, Observation
from validators._sampling import affordable, evenly
from validators.metrics import evaluate_retrieval, retrieve_listed

MAX_QUERIES, MAX_GALLERY = 500, 2000
"""The number of pairs grows with the square of the artifacts, so evenly spaced held-out images are used as a sample."""


@dataclass(frozen=True)
class Sample:
    """One model's embeddings of the sampled images: queries float32 [q, D], gallery float32 [g, D].

    With leave-one-out, queries and gallery are the same.
    """

    queries: np.ndarray
    gallery: np.ndarray


def sample(observation: Observation, held_out: HeldOut) -> Sample:
    """Select the embeddings that ``compatibility`` needs, few enough to keep on disk."""
    queries, gallery = _chosen(held_out)
    return Sample(observation.queries[queries], observation.gallery[gallery])


def sample_of(embedder: Callable[[ImageArray], np.ndarray], held_out: HeldOut) -> Sample:
    """As ``sample``, for a model that has embedded nothing yet; ``embedder`` takes images and gives float32 [N, D]."""
    queries, gallery = _chosen(held_out)
    asking = embedder(held_out.queries.images[queries])
    return Sample(asking, asking if held_out.leave_one_out else embedder(held_out.gallery.images[gallery]))


def compatibility(
    samples: Mapping[str, Sample], held_out: HeldOut, embedding: EmbeddingSpec
) -> dict[str, dict[str, float]]:
    """Compute mAP by the gallery's artifact, then by the query's; the diagonal is each artifact with itself."""
    queries, gallery = _chosen(held_out)
    asked = evenly(len(queries), affordable(len(queries), embedding))
    searched = asked if held_out.leave_one_out else np.arange(len(gallery))
    queries, gallery = queries[asked], gallery[searched]
    truth = held_out.ground_truth and held_out.ground_truth.among(queries, gallery)
    scored: dict[str, Any] = {"distance": embedding.distance, "metrics": ("mAP",)}

    def mean_ap(asking: np.ndarray, indexed: np.ndarray) -> float:
        if truth is not None:
            return retrieve_listed(asking, indexed, truth, **scored).scores["mAP"]
        labels = held_out.queries.labels[queries], held_out.gallery.labels[gallery]
        return evaluate_retrieval(asking, indexed, *labels, **scored, exclude_self=held_out.leave_one_out)["mAP"]

    own = {name: (each.queries[asked], each.gallery[searched]) for name, each in samples.items()}
    return {indexed: {asking: mean_ap(own[asking][0], own[indexed][1]) for asking in own} for indexed in own}


def _chosen(held_out: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the sampled queries and gallery images; the same indices if the queries are the gallery."""
    queries = evenly(len(held_out.queries), MAX_QUERIES)
    return queries, queries if held_out.leave_one_out else evenly(len(held_out.gallery), MAX_GALLERY)
