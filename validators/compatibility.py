"""Measure mAP if one artifact makes the gallery and another the queries, e.g. a server and its phones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.contracts import EmbeddingSpec, HeldOut, ImageArray, Observation
from validators._sampling import affordable, evenly
from validators.held_out_part import HeldOutPart, sampled
from validators.metrics import RetrievalResult, retrieve, retrieve_listed


@dataclass(frozen=True)
class Sample:
    """One model's embeddings of the sampled images: queries float32 [q, D], gallery float32 [g, D].

    The number of pairs grows with the square of the artifacts, so evenly spaced held-out images are used as a sample.
    With leave-one-out, queries and gallery are the same.

    Attributes:
        part: the held-out images that were embedded, if a slow runtime embedded only some of the sample.
    """

    queries: np.ndarray
    gallery: np.ndarray
    part: HeldOutPart | None = None


def sample(observation: Observation, held_out: HeldOut, part: HeldOutPart | None = None) -> Sample:
    """Select the embeddings that ``compatibility`` needs, few enough to keep on disk.

    Args:
        part: the held-out images that ``observation`` is of; None for all.
    """
    whole = sampled(held_out)
    if part is None:
        return Sample(observation.queries[whole.queries], observation.gallery[whole.gallery])
    queries, gallery = np.intersect1d(part.queries, whole.queries), np.intersect1d(part.gallery, whole.gallery)
    return Sample(
        observation.queries[part.queries.searchsorted(queries)],
        observation.gallery[part.gallery.searchsorted(gallery)],
        HeldOutPart(queries, gallery),
    )


def sample_of(embedder: Callable[[ImageArray], np.ndarray], held_out: HeldOut) -> Sample:
    """As ``sample``, for a model that has embedded nothing yet; ``embedder`` takes images and gives float32 [N, D]."""
    whole = sampled(held_out)
    asking = embedder(held_out.queries.images[whole.queries])
    return Sample(asking, asking if held_out.leave_one_out else embedder(held_out.gallery.images[whole.gallery]))


class Compared:
    """Models that make galleries and queries, compared on the images that all of them embedded."""

    def __init__(self, samples: Mapping[str, Sample], held_out: HeldOut, embedding: EmbeddingSpec) -> None:
        whole = sampled(held_out)
        queries, gallery = whole.queries, whole.gallery
        for each in samples.values():
            if (part := each.part) is not None:
                queries, gallery = np.intersect1d(queries, part.queries), np.intersect1d(gallery, part.gallery)
        queries = queries[evenly(len(queries), affordable(len(queries), embedding))]
        gallery = queries if held_out.leave_one_out else gallery
        self._truth = held_out.ground_truth and held_out.ground_truth.among(queries, gallery)
        self._labels = held_out.queries.labels[queries], held_out.gallery.labels[gallery]
        self._scored: dict[str, Any] = {"distance": embedding.distance, "metrics": ("mAP",)}
        self._leave_one_out = held_out.leave_one_out
        self._own = {}
        for name, each in samples.items():
            part = each.part or whole
            self._own[name] = (
                each.queries[part.queries.searchsorted(queries)],
                each.gallery[part.gallery.searchsorted(gallery)],
            )

    def retrieved(self, asking: str, indexed: str) -> RetrievalResult:
        """Search the gallery of one model with the queries of another, for mAP."""
        queries, gallery = self._own[asking][0], self._own[indexed][1]
        if self._truth is not None:
            return retrieve_listed(queries, gallery, self._truth, **self._scored)
        return retrieve(queries, gallery, *self._labels, **self._scored, exclude_self=self._leave_one_out)


def compatibility(
    samples: Mapping[str, Sample], held_out: HeldOut, embedding: EmbeddingSpec
) -> dict[str, dict[str, float]]:
    """Compute mAP by the gallery's artifact, then by the query's; the diagonal is each artifact with itself.

    Every pair is compared with the images that all artifacts embedded.
    """
    compared = Compared(samples, held_out, embedding)
    return {
        indexed: {asking: compared.retrieved(asking, indexed).scores["mAP"] for asking in samples}
        for indexed in samples
    }
