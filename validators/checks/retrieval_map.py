"""Check that search works with the artifact: mAP with its own features, compared with the PyTorch model's mAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from compress.contracts import BadInput, Check, Distance, EmbeddingSpec, HeldOut, Observation
from validators._sampling import evenly
from validators.checks._outputs import defect
from validators.local_matching import RULE
from validators.metrics import RetrievalResult, check_metric, retrieve, retrieve_listed
from validators.results import Retrieval, SourceScores


@dataclass(frozen=True, kw_only=True)
class RetrievalMap(Check):
    """Searches the held-out gallery with every query; gallery and queries are the artifact's own embeddings.

    Values: each metric, by the rule ``validators.metrics.list_metrics`` gives; ``mAP_drop``, the PyTorch model's mAP
    minus the artifact's; ``queries`` and ``empty_queries``; ``problem`` says why the output is not an embedding, and
    then every metric is None, which no gate passes. If the data set has several settings of relevant images, the plain
    name of a metric means the first, and each setting has its own values: mAP/easy, mAP/hard, empty_queries/easy, …

    Attributes:
        metrics: names such as mAP, mAP@5, P@1; mAP is always measured. ``module:function`` names a metric of your own.
        with_query: metrics that are measured a second time, with each query in its own gallery, as papers have it that
            do not take it out. The query is then its own first hit, so these values are higher, and say less. They are
            reported as NAME/with_query beside those of leave-one-out, and no gate looks at them.
        with_query_count: at most this many queries, evenly spaced, for ``with_query``; null: all of them.
        local_queries: at most this many queries, evenly spaced, if the distance is local, because each is verified
            geometrically with a hundred images. Without a separate gallery they search one another.
    """

    section: ClassVar[str] = "retrieval"

    metrics: tuple[str, ...] = ("mAP", "mAP@5", "mPC@5", "P@1")
    with_query: tuple[str, ...] = ()
    with_query_count: Annotated[int, Ge(1)] | None = None
    local_queries: Annotated[int, Ge(2)] = 300

    def __post_init__(self) -> None:
        """Raises BadInput for an unknown metric."""
        for name in (*self.metrics, *self.with_query):
            check_metric(name)
        if self.with_query_count is not None and not self.with_query:
            raise BadInput("with_query_count: there is no with_query; name its metrics, or remove this option")

    def check_gallery(self, *, leave_one_out: bool) -> None:
        """Raises BadInput if queries are to stay in the gallery, but the data set has a gallery without them."""
        if self.with_query and not leave_one_out:
            raise BadInput(
                "validate.retrieval.with_query: this data set searches a gallery of its own, in which the queries are "
                "not; remove this option, or name the metrics in validate.retrieval.metrics"
            )

    def measure(self, observation: Observation, held_out: HeldOut, embedding: EmbeddingSpec) -> SourceScores:
        """Measure one model's metrics, each with its rule; ``problem`` says why if its output cannot be ranked.

        Put the PyTorch model's mAP into ``Observation.mean_ap``, so that it is not ranked again for every artifact.
        """
        names = tuple(dict.fromkeys(("mAP", *self.metrics)))
        queries, labels, truths = observation.queries, held_out.queries.labels, held_out.ground_truths
        gallery, gallery_labels, rules = observation.gallery, held_out.gallery.labels, {}
        if embedding.distance == "local":
            rows = evenly(len(queries), self.local_queries)
            rules = {"distance": RULE, "queries": f"{len(rows)} of {len(queries)}, evenly spaced"}
            queries, labels = queries[rows], labels[rows]
            truths = {setting: truth.among(rows, np.arange(len(gallery))) for setting, truth in truths.items()}
            if held_out.leave_one_out:
                gallery, gallery_labels = queries, labels
                rules["queries"] += ", searching one another"
        try:
            results = {
                setting: retrieve_listed(queries, gallery, truth, distance=embedding.distance, metrics=names)
                for setting, truth in truths.items()
            } or {
                "labels": retrieve(
                    queries,
                    gallery,
                    labels,
                    gallery_labels,
                    distance=embedding.distance,
                    metrics=names,
                    exclude_self=held_out.leave_one_out,
                )
            }
            kept = self._with_query(queries, gallery, labels, gallery_labels, embedding.distance)
        except ValueError as error:
            return self._unranked(str(error))
        first, result = next(iter(results.items()))
        scores: dict[str, float | int] = dict(result.scores)
        rules = {**result.rules, **rules}
        if kept is not None:
            scores |= {f"{name}/with_query": value for name, value in kept.scores.items()}
            rules["with_query"] = (
                f"each of {kept.queries} queries stays in its gallery of {len(gallery)} and is its own first hit"
            )
            rules |= {f"{name}/with_query": kept.rules[name] for name in self.with_query}
        if len(results) > 1:
            scores |= {
                f"{name}/{each}": value for each, found in results.items() for name, value in found.scores.items()
            }
            scores |= {f"empty_queries/{each}": found.empty_queries for each, found in results.items()}
            rules["settings"] = f"{', '.join(results)}; a name without one means {first}"
        counts = {"queries": result.queries, "empty_queries": result.empty_queries}
        return SourceScores.model_validate({**scores, **counts, "rules": rules})

    def _with_query(
        self,
        queries: np.ndarray,
        gallery: np.ndarray,
        labels: np.ndarray,
        gallery_labels: np.ndarray,
        distance: Distance,
    ) -> RetrievalResult | None:
        """Search the gallery with queries that it holds; None if the recipe does not ask for it."""
        if not self.with_query:
            return None
        rows = evenly(len(queries), self.with_query_count or len(queries))
        return retrieve(
            queries[rows], gallery, labels[rows], gallery_labels, distance=distance, metrics=self.with_query
        )

    def run(
        self, reference: Observation, candidate: Observation, held_out: HeldOut, embedding: EmbeddingSpec
    ) -> Retrieval:
        problem = defect(reference, candidate, embedding)
        scores = self.measure(candidate, held_out, embedding) if problem is None else self._unranked(problem)
        expected = reference.mean_ap
        if expected is None:
            expected = self.measure(reference, held_out, embedding).mAP
        drop = None if expected is None or scores.mAP is None else expected - scores.mAP
        values = {name: value for name, value in scores if name != "rules"}
        return Retrieval.model_validate({**values, "mAP_drop": drop})

    def _unranked(self, problem: str) -> SourceScores:
        names = ("mAP", *self.metrics, *(f"{name}/with_query" for name in self.with_query))
        return SourceScores.model_validate({**dict.fromkeys(names), "problem": problem})
