"""Compare the artifact's ranking of the gallery with the PyTorch model's: order, single queries, mAP drop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from compress.contracts import Check, EmbeddingSpec, HeldOut, Observation
from validators._bootstrap import interval
from validators._distances import Distances
from validators._sampling import affordable, evenly
from validators.checks._outputs import defect
from validators.metrics import retrieve, retrieve_listed
from validators.results import Ranking

_TAU_QUERIES, _TAU_GALLERY = 100, 400


@dataclass(frozen=True, kw_only=True)
class RankAgreement(Check):
    """Compares rankings, each model searching its own gallery; measures ``validators.results.Ranking``.

    Attributes:
        queries: at most this many queries, evenly spaced; 100 if the distance is local.
        resamples: number of bootstrap samples; the seed is fixed.
    """

    section: ClassVar[str] = "ranking"

    queries: Annotated[int, Ge(2)] = 1000
    resamples: Annotated[int, Ge(100)] = 1000

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Ranking:
        problem = defect(reference, candidate, embedding)
        try:
            if problem is None:
                return self._measured(reference, candidate, held_out, embedding)
        except ValueError as error:  # activations outside [0, 1]: there are no codes to rank
            problem = str(error)
        return Ranking.unmeasured(problem)

    def _measured(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Ranking:
        chosen = evenly(len(reference.queries), affordable(self.queries, embedding))
        expected, given = (self._precisions(each, chosen, held_out, embedding) for each in (reference, candidate))
        counted = ~np.isnan(expected)
        drops = (expected - given)[counted]
        if not len(drops):
            raise ValueError("every query is empty: no gallery image shares its label")
        worst = int(np.argmax(drops))
        low, high = interval(drops, self.resamples)
        return Ranking(
            kendall_tau=_kendall_tau(reference, candidate, held_out.leave_one_out, embedding),
            mean_ap_change=float(np.abs(drops).mean()),
            largest_ap_drop=float(drops[worst]),
            largest_ap_drop_query=held_out.queries.ids[int(chosen[counted][worst])],
            mAP_drop_low=low,
            mAP_drop_high=high,
        )

    def _precisions(
        self, observation: Observation, chosen: np.ndarray, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> np.ndarray:
        """Average precision of the chosen queries, float64; NaN for empty ones. With leave-one-out among themselves."""
        if held_out.ground_truth is not None:
            truth = held_out.ground_truth.among(chosen, np.arange(len(observation.gallery)))
            return retrieve_listed(
                observation.queries[chosen], observation.gallery, truth, distance=embedding.distance, metrics=("mAP",)
            ).per_query_ap
        itself = held_out.leave_one_out
        gallery, labels = (
            (observation.gallery[chosen], held_out.queries.labels[chosen])
            if itself
            else (
                observation.gallery,
                held_out.gallery.labels,
            )
        )
        return retrieve(
            observation.queries[chosen],
            gallery,
            held_out.queries.labels[chosen],
            labels,
            distance=embedding.distance,
            metrics=("mAP",),
            exclude_self=itself,
        ).per_query_ap


def _kendall_tau(
    reference: Observation, candidate: Observation, leave_one_out: bool, embedding: EmbeddingSpec
) -> float:
    queries = evenly(len(reference.queries), _TAU_QUERIES)
    gallery = evenly(len(reference.gallery), _TAU_GALLERY)
    expected, given = (
        Distances(each.queries[queries], each.gallery[gallery], embedding.distance).block(slice(None))
        for each in (reference, candidate)
    )
    first, second = np.triu_indices(len(gallery), 1)
    taus = []
    for row, query in enumerate(queries):
        agree = np.sign(expected[row, first] - expected[row, second]) * np.sign(given[row, first] - given[row, second])
        if leave_one_out:  # the query itself is always first in both rankings
            agree = agree[(gallery[first] != query) & (gallery[second] != query)]
        taus.append(agree.mean() if len(agree) else 1.0)
    return float(np.mean(taus))
