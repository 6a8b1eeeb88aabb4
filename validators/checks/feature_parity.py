"""Compare the artifact's embeddings with the PyTorch model's: angles, errors and neighbours, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from compress.contracts import Check, EmbeddingSpec, HeldOut, Observation
from validators._sampling import affordable, evenly
from validators.checks._outputs import defect, directions
from validators.metrics import nearest_neighbours
from validators.results import Margins, Parity

_NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class FeatureParity(Check):
    """Compares the embeddings of queries and probes with the PyTorch model's; measures ``validators.results.Parity``.

    Attributes:
        neighbour_queries: at most this many queries, evenly spaced, are used for ``top10_overlap``.
    """

    section: ClassVar[str] = "parity"

    neighbour_queries: Annotated[int, Ge(1)] = 2000

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Parity:
        problem = defect(reference, candidate, embedding)
        if problem is not None:
            return Parity.unmeasured(problem)
        expected, given = (
            directions(np.concatenate((each.queries, each.probes)), embedding) for each in (reference, candidate)
        )
        error = np.abs(given - expected)
        cosine = _cosines(expected, given)
        mean = expected.mean(axis=0)
        worst = int(np.argmin(cosine))
        count = len(reference.queries)
        binary = embedding.kind == "binary"
        return Parity(
            min_cosine=float(cosine.min()),
            min_centered_cosine=float(_cosines(expected - mean, given - mean).min()),
            mean_cosine=float(cosine.mean()),
            p01_cosine=float(np.percentile(cosine, 1)),
            max_abs_error=float(error.max()),
            max_rel_error=float(error.max() / np.abs(np.concatenate((reference.queries, reference.probes))).max()),
            mean_abs_error=float(error.mean()),
            top10_overlap=self._overlap(reference, candidate, held_out.leave_one_out, embedding),
            bit_flip_rate=float(((expected > 0) != (given > 0)).mean()) if binary else None,
            margins=_margins(expected, given) if binary else None,
            worst_image=held_out.queries.ids[worst] if worst < count else f"probe {worst - count}",
        )

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


_MARGINS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.5)
"""Edges with a factor of ten: rounding in fp32 changes activations by 1e-7 to 1e-6, in fp16 by 1e-4 to 1e-2."""


def _margins(expected: np.ndarray, given: np.ndarray) -> Margins:
    """Count bits and flipped bits by distance from the threshold, from activations minus the threshold."""
    flipped = (expected > 0) != (given > 0)
    interval = np.digitize(np.abs(expected), _MARGINS[1:-1], right=True)
    bits, flips = (np.bincount(part.ravel(), minlength=len(_MARGINS) - 1) for part in (interval, interval[flipped]))
    return Margins(edges=_MARGINS, bits=tuple(bits.tolist()), flips=tuple(flips.tolist()))


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine of each pair of rows, float64 [N]; NaN if a row is zero."""
    with np.errstate(invalid="ignore"):
        products = np.einsum("nd,nd->n", first, second)
        return np.asarray(products / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))).clip(-1, 1)
