"""Does the artifact give the PyTorch model's embeddings? Angles, errors and neighbours, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from compress.contracts import Check, EmbeddingSpec, HeldOut, Observation
from validators._sampling import affordable, evenly
from validators.checks._outputs import defect, directions
from validators.metrics import nearest_neighbours

_NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class FeatureParity(Check):
    """Compares the embeddings of the queries and the probes with the PyTorch model's.

    Values, over all those images unless said otherwise:
        min_cosine, mean_cosine, p01_cosine: cosine between the two embeddings, the last one its first percentile;
            hash activations are taken from the bits' threshold, 0.5, and local features weighted with their scores.
        min_centered_cosine: the lowest cosine after subtracting the PyTorch model's mean embedding from both. Features
            after a ReLU share a large common part, so even a constant output can have a high plain cosine.
        max_abs_error, mean_abs_error: over single embedding values.
        max_rel_error: max_abs_error over the largest absolute value of the PyTorch model.
        top10_overlap: mean share of a query's 10 nearest gallery images that both models agree on, each searching its
            own gallery; at most ``neighbour_queries`` queries, evenly spaced (100 where the distance is local).
        bit_flip_rate: share of the bits that differ; None where the embedding is not binary.
        margins: how far the bits are from flipping, None where the embedding is not binary: ``edges`` of a histogram of
            the distance of an activation from the threshold, and for each interval (upper edge included) the number of
            ``bits`` and of those the ``flips``. The activations are the PyTorch model's, so that an artifact that gives
            bare codes has the same intervals.
        worst_image: id of the query, or ``probe N``, with the lowest cosine.
        problem: only there when the output is no embedding (wrong shape, NaN or infinity, a zero vector); every other
            value is then NaN, which no gate passes.

    Attributes:
        neighbour_queries: at most this many queries, evenly spaced, for ``top10_overlap``.
    """

    section: ClassVar[str] = "parity"

    neighbour_queries: Annotated[int, Ge(1)] = 2000

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Mapping[str, Any]:
        binary = embedding.kind == "binary"
        problem = defect(reference, candidate, embedding)
        if problem is not None:
            measured = dict.fromkeys(_VALUES, float("nan"))
            flips = {"bit_flip_rate": float("nan") if binary else None, "margins": None}
            return {**measured, **flips, "worst_image": None, "problem": problem}
        expected, given = (
            directions(np.concatenate((each.queries, each.probes)), embedding) for each in (reference, candidate)
        )
        error = np.abs(given - expected)
        cosine = _cosines(expected, given)
        mean = expected.mean(axis=0)
        worst = int(np.argmin(cosine))
        count = len(reference.queries)
        return {
            "min_cosine": float(cosine.min()),
            "min_centered_cosine": float(_cosines(expected - mean, given - mean).min()),
            "mean_cosine": float(cosine.mean()),
            "p01_cosine": float(np.percentile(cosine, 1)),
            "max_abs_error": float(error.max()),
            "max_rel_error": float(error.max() / np.abs(np.concatenate((reference.queries, reference.probes))).max()),
            "mean_abs_error": float(error.mean()),
            "top10_overlap": self._overlap(reference, candidate, held_out.leave_one_out, embedding),
            **(_flips(expected, given) if binary else {"bit_flip_rate": None, "margins": None}),
            "worst_image": held_out.queries.ids[worst] if worst < count else f"probe {worst - count}",
        }

    def _overlap(
        self, reference: Observation, candidate: Observation, leave_one_out: bool, embedding: EmbeddingSpec
    ) -> float:
        count = len(reference.queries)
        chosen = evenly(count, affordable(self.neighbour_queries, embedding))
        try:
            expected, given = (
                nearest_neighbours(
                    each.queries[chosen],
                    each.gallery,
                    _NEIGHBOURS,
                    distance=embedding.distance,
                    itself=chosen if leave_one_out else None,
                )
                for each in (reference, candidate)
            )
        except ValueError:  # activations outside [0, 1]: there are no codes to rank
            return float("nan")
        return float((expected[:, :, None] == given[:, None, :]).any(axis=2).mean())


_VALUES = (
    "min_cosine",
    "min_centered_cosine",
    "mean_cosine",
    "p01_cosine",
    "max_abs_error",
    "max_rel_error",
    "mean_abs_error",
    "top10_overlap",
)


_MARGINS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.5)
"""A factor of ten each: rounding in fp32 moves activations by 1e-7 to 1e-6, in fp16 by 1e-4 to 1e-2."""


def _flips(expected: np.ndarray, given: np.ndarray) -> dict[str, Any]:
    """From activations less the threshold."""
    flipped = (expected > 0) != (given > 0)
    interval = np.digitize(np.abs(expected), _MARGINS[1:-1], right=True)
    bits, flips = (np.bincount(part.ravel(), minlength=len(_MARGINS) - 1) for part in (interval, interval[flipped]))
    return {
        "bit_flip_rate": float(flipped.mean()),
        "margins": {"edges": list(_MARGINS), "bits": bits.tolist(), "flips": flips.tolist()},
    }


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float64 [N]; NaN where a row is zero."""
    with np.errstate(invalid="ignore"):
        products = np.einsum("nd,nd->n", first, second)
        return np.asarray(products / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))).clip(-1, 1)
