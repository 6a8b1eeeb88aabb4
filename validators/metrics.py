"""Compute retrieval metrics, each with its rule: denominator, ties, empty queries, self-match.

A ranking sorts the gallery by distance to the query. Items at equal distance have no defined order, so every score is
the exact average over the orders inside ties, unless its name says best or worst. Hash codes often tie: six tied items
of which three are relevant score between .383 and 1, depending on their order, and .645 on average.

Sources: average precision as in Manning et al., Introduction to Information Retrieval, 2008, 8.4, and its trapezoid
form as in Philbin et al., CVPR 2007 (the Oxford Buildings evaluation code); ties as in McSherry and Najork, ECIR 2008;
mPC is OMCBIR's Eq. 7 and 8.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from compress.contracts import BadInput, Distance, GroundTruth
from compress.plugins import did_you_mean, function_named, is_code, offered
from validators import _rankings
from validators._blocks import block_pool
from validators._counting import Counter
from validators._distances import Distances
from validators._rankings import Denominator, Form, Rankings, Ties

_MAX_K = 1_000_000


def average_precision(
    scores: Any,
    relevant: Any,
    *,
    junk: Any = None,
    k: int | None = None,
    denominator: Denominator = "relevant",
    form: Form = "step",
    ties: Ties = "expected",
) -> float:
    """Compute the average precision of one query.

    Args:
        scores: [N] real numbers, higher ranks first; for distances pass their negatives. Infinities are ranked.
        relevant: [N] bool, or 0 and 1.
        junk: [N] bool, or 0 and 1. Junk is removed from the ranking before anything is counted, relevant or not.
        k: only hits among the first k count; None, or more than there are items, means all.
        denominator: what the sum of precisions is divided by: ``relevant``, all relevant items R (trec_eval); ``min``,
            min(k, R) (Google Landmarks); ``hits``, the relevant items among the first k (deep-hashing code: [1, 0, 0]
            scores 1 however many relevant items are missed), 0 if there is none. Without k the three are equal.
        form: ``step``, precision at each hit; ``trapezoid``, mean of it and the precision one rank earlier, which is 1
            before the first rank (the Oxford and ROxford code).
        ties: for equal scores, the exact average over their orders, or the value of the ``best`` or ``worst`` order.

    Returns:
        A value in [0, 1]; NaN if no item is relevant, because average precision is then undefined.

    Raises:
        ValueError: shapes differ, a score is NaN, a flag is not 0 or 1, or k is not a positive whole number.
        BadInput: an unknown denominator, form or ties.
    """
    _require_choice("denominator", denominator, get_args(Denominator))
    _require_choice("form", form, get_args(Form))
    _require_choice("ties", ties, get_args(Ties))
    values = np.asarray(scores)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ValueError(f"scores must be one row of real numbers, got shape {list(values.shape)} of {values.dtype}")
    if np.isnan(values).any():
        raise ValueError(f"scores: {np.count_nonzero(np.isnan(values))} of {len(values)} are NaN and cannot be ranked")
    flags = _flags("relevant", relevant, len(values))
    if junk is not None:
        kept = ~_flags("junk", junk, len(values))
        values, flags = values[kept], flags[kept]
    cut = max(len(values), 1) if k is None else _positive(k)
    order = np.argsort(values, kind="stable")[::-1]
    rankings = _rankings.settle_ties(_rankings.from_sorted(values[order][None], flags[order][None]), ties)
    return float(_rankings.average_precision(rankings, min(cut, max(len(values), 1)), denominator, form)[0])


def _require_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise BadInput(f"{name} {value!r} must be one of {', '.join(known)}{did_you_mean(str(value), list(known))}")


def _flags(name: str, values: Any, length: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {list(array.shape)}, scores have [{length}]")
    flags = array.astype(bool)
    if not np.array_equal(flags, array):
        raise ValueError(f"{name} must hold only 0 and 1 (or False and True)")
    return flags


def _positive(k: int) -> int:
    try:
        value = operator.index(k)
    except TypeError:
        raise ValueError(f"k is {k!r}; it must be a whole number of at least 1") from None
    if value < 1:
        raise ValueError(f"k is {value}; it must be at least 1")
    return value


# ------------------------------------------------------------------------------------------- metrics by name


@dataclass(frozen=True)
class _Metric:
    """``score`` computes float64 [Q] from rankings, k (their length if the name has no k) and AP's form."""

    rule: str
    score: Callable[[Rankings, int, Form], np.ndarray]


def _mean_ap(denominator: Denominator, ties: Ties = "expected") -> Callable[[Rankings, int, Form], np.ndarray]:
    return lambda rankings, k, form: _rankings.average_precision(
        _rankings.settle_ties(rankings, ties), k, denominator, form
    )


def _without_form(score: Callable[[Rankings, int], np.ndarray]) -> Callable[[Rankings, int, Form], np.ndarray]:
    return lambda rankings, k, _: score(rankings, k)


_METRICS = {
    "mAP": _Metric(
        "mean over the queries of average precision over the whole ranking, divided by all relevant items R",
        _mean_ap("relevant"),
    ),
    "mAP/best": _Metric(
        "mAP if every tie were ordered relevant items first: the upper end of mAP's range", _mean_ap("relevant", "best")
    ),
    "mAP/worst": _Metric(
        "mAP if every tie were ordered relevant items last: the lower end of mAP's range", _mean_ap("relevant", "worst")
    ),
    "mAP@k": _Metric("mean of average precision over the first k, divided by min(k, R)", _mean_ap("min")),
    "mAP@k/best": _Metric("mAP@k if every tie were ordered relevant items first", _mean_ap("min", "best")),
    "mAP@k/worst": _Metric("mAP@k if every tie were ordered relevant items last", _mean_ap("min", "worst")),
    "mAP@k/relevant": _Metric("mean of average precision over the first k, divided by R", _mean_ap("relevant")),
    "mAP@k/hits": _Metric(
        "mean of average precision over the first k, divided by the hits among them (0 without a hit)", _mean_ap("hits")
    ),
    "mPC": _Metric(
        "mean over k' = 1..R of P@k' (OMCBIR Eq. 8 with its m, the number of similar images)",
        _without_form(lambda rankings, _: _rankings.mean_precision(rankings, rankings.relevant)),
    ),
    "mAP@R": _Metric(
        "MAP@R: mean of average precision over the first R, divided by R (Musgrave et al., ECCV 2020)",
        lambda rankings, _, form: _rankings.average_precision(rankings, rankings.own_cut, "relevant", form),
    ),
    "P@R": _Metric(
        "R-precision: share of the first R that is relevant",
        lambda rankings, _, __: _rankings.hits_within(rankings, rankings.own_cut) / np.maximum(rankings.relevant, 1),
    ),
    "mPC@k": _Metric(
        "mean over k' = 1..k of P@k' (OMCBIR Eq. 8 up to rank k)", _without_form(_rankings.mean_precision)
    ),
    "P@k": _Metric(
        "share of the first k that is relevant; ranks past a shorter list count as misses",
        _without_form(lambda rankings, k: _rankings.hits_within(rankings, k) / k),
    ),
    "R@k": _Metric(
        "recall: share of the R relevant items that is among the first k",
        _without_form(lambda rankings, k: _rankings.hits_within(rankings, k) / np.maximum(rankings.relevant, 1)),
    ),
    "hit@k": _Metric(
        "share of the queries with a relevant item among the first k (metric learning calls it Recall@k)",
        _without_form(_rankings.any_hit_within),
    ),
}

_NAME = re.compile(r"(?P<head>[A-Za-z]+)(@(?P<k>[0-9]+|R))?(?P<variant>/[a-z]+)?", re.ASCII)


def list_metrics() -> dict[str, str]:
    """List the metrics: name pattern, with k for any whole number from 1, -> the rule in one line."""
    return {pattern: metric.rule for pattern, metric in _METRICS.items()}


def check_metric(name: str) -> None:
    """Raises BadInput, naming the nearest metric, unless ``name`` is one of ours or code of the user's own."""
    _parse(name)


def is_own(name: str) -> bool:
    """Whether a metric is code: ``module:function``, ``./file.py:function``, or the entry point ``package/metric``."""
    return is_code(name) or name in offered("metrics")


def own_metric(name: str) -> Any:
    """The function of a metric that is not ours.

    It is called as ``function(ranks, length)`` for each query that has a relevant item: ``ranks`` int64 [R], ascending,
    the ranks of the relevant items from 1 on, those of ties last; ``length`` is the number of ranked items. It gives a
    score in [0, 1].

    Raises:
        BadInput: there is none, or its name cannot be the key of a score.
    """
    if not is_code(name) and "/" not in name:
        raise BadInput(f"metric '{name}': an entry point of compress.metrics must be named package/metric")
    return function_named("metrics", name)


def _own(name: str) -> _Metric:
    function = own_metric(name)

    def score(rankings: Rankings, length: int) -> np.ndarray:
        settled = _rankings.settle_ties(rankings, "worst")
        found = np.full(len(rankings.relevant), np.nan)
        for row in np.flatnonzero(rankings.relevant):
            groups = settled.row == row
            before, hits = settled.before[groups], settled.hits[groups]
            ranks = np.concatenate([np.arange(b, b + h) + 1 for b, h in zip(before, hits, strict=True)])
            value = float(function(ranks, length))
            if not 0 <= value <= 1:
                raise BadInput(f"metric '{name}': gave {value}, which is not a score in [0, 1]")
            found[row] = value
        return found

    rule = (function.__doc__ or "no docstring says how it counts").strip().partition("\n")[0]
    return _Metric(f"{rule} (not one of Compress; relevant items are last in ties)", _without_form(score))


def _parse(name: str) -> tuple[_Metric, int | None]:
    if is_own(name):
        return _own(name), None
    match = _NAME.fullmatch(name)
    k = match["k"] if match else None
    cut = "" if k is None else "@R" if k == "R" else "@k"
    pattern = f"{match['head']}{cut}{match['variant'] or ''}" if match else name
    if pattern not in _METRICS:
        # Compared without case, because 'map' is nearer to 'R@k' than to 'mAP' letter by letter.
        lower = {each.lower(): each for each in _METRICS if not each.endswith("@R") or pattern.lower().endswith("r")}
        near = difflib.get_close_matches(pattern.lower(), list(lower), n=1)
        number = "5" if k in (None, "R") else k
        hint = f"; did you mean '{lower[near[0]].replace('@k', f'@{number}')}'?" if near else ""
        raise BadInput(f"unknown metric '{name}' (there are: {', '.join([*_METRICS, *offered('metrics')])}){hint}")
    if k is None or k == "R":
        return _METRICS[pattern], None
    if not 1 <= int(k) <= _MAX_K:
        raise BadInput(f"metric '{name}': k must lie between 1 and {_MAX_K}")
    return _METRICS[pattern], int(k)


# ------------------------------------------------------------------------------------------------- retrieval


@dataclass(frozen=True)
class RetrievalResult:
    """The scores of a retrieval run, and the rules by which they were counted.

    Attributes:
        scores: metric name -> value in [0, 1]; NaN if every query is empty.
        per_query_ap: float64 [Q], average precision by the rule of ``mAP``; NaN for an empty query.
        queries: Q, empty ones included.
        empty_queries: queries without a relevant item in their gallery.
        rules: the rules in words: relevant items, ties, empty queries, self-match, and each metric.
    """

    scores: dict[str, float]
    per_query_ap: np.ndarray
    queries: int
    empty_queries: int
    rules: dict[str, str]


def evaluate_retrieval(
    queries: Any,
    gallery: Any,
    query_labels: Any,
    gallery_labels: Any,
    *,
    distance: Distance = "l2",
    metrics: Sequence[str] = ("mAP", "P@1"),
    exclude_self: bool = False,
) -> dict[str, float]:
    """Return the scores of ``retrieve``: metric name -> value in [0, 1]."""
    return retrieve(
        queries,
        gallery,
        query_labels,
        gallery_labels,
        distance=distance,
        metrics=metrics,
        exclude_self=exclude_self,
    ).scores


def retrieve(
    queries: Any,
    gallery: Any,
    query_labels: Any,
    gallery_labels: Any,
    *,
    distance: Distance = "l2",
    metrics: Sequence[str] = ("mAP", "P@1"),
    exclude_self: bool = False,
) -> RetrievalResult:
    """Rank the gallery for every query, exhaustively, and score the rankings.

    Distances are compared at float32 precision: smaller differences are ties.

    Args:
        queries: [Q, D] features; for ``hamming``, activations in [0, 1] (or bits), bit i = activation i > 0.5.
        gallery: [G, D].
        query_labels: [Q]; an item is relevant when its label equals the query's.
        gallery_labels: [G].
        metrics: names as ``list_metrics`` gives them, with a number for k.
        exclude_self: query i is gallery item i, and is removed from its own ranking (leave-one-out).

    Raises:
        ValueError: shapes do not match, a feature is NaN or infinite, or there is nothing to rank.
        BadInput: an unknown metric or distance.
    """
    distances = Distances(queries, gallery, distance)
    query_classes, gallery_classes = _classes(query_labels, gallery_labels, len(queries), len(gallery))
    if exclude_self and not np.array_equal(query_classes, gallery_classes):
        raise ValueError(
            f"exclude_self: query i must be gallery item i, but the labels of {len(queries)} queries and "
            f"{len(gallery)} gallery items differ"
        )
    counter = Counter(distances)
    members = _members(query_classes, gallery_classes)
    # Class by class, because queries of one class share their relevant items.
    order = np.argsort(query_classes, kind="stable")

    def rank(rows: np.ndarray) -> Rankings:
        return counter.rankings(rows, [members[label] for label in query_classes[rows]], exclude_self)

    rules = {
        "relevant": "gallery items with the query's label; R is their number",
        "self-match": "the query itself is taken out of the gallery (leave-one-out)"
        if exclude_self
        else "queries and gallery are taken as disjoint; nothing is removed",
    }
    return _scored(rank, order, distances.block_rows(), metrics, "step", rules)


def retrieve_listed(
    queries: Any,
    gallery: Any,
    truth: GroundTruth,
    *,
    distance: Distance = "l2",
    metrics: Sequence[str] = ("mAP", "P@1"),
) -> RetrievalResult:
    """As ``retrieve``, but ``truth`` instead of labels lists the relevant items of each query, and the junk.

    Args:
        queries: [Q, D] features, as many as ``truth`` has.
        gallery: [G, D], to which its indices refer.

    Raises:
        ValueError: as ``retrieve``, or ``truth`` does not fit these queries and this gallery.
        BadInput: an unknown metric or distance.
    """
    distances = Distances(queries, gallery, distance)
    if not len(truth.relevant) == len(truth.junk) == len(queries):
        raise ValueError(f"the ground truth lists {len(truth.relevant)} queries, there are {len(queries)}")
    for query, (relevant, junk) in enumerate(zip(truth.relevant, truth.junk, strict=True)):
        listed = np.concatenate((relevant, junk))
        if len(np.unique(listed)) < len(listed) or (listed < 0).any() or (listed >= len(gallery)).any():
            raise ValueError(
                f"the ground truth of query {query} lists an item twice, or one that is not in the gallery"
            )
    counter = Counter(distances)

    def rank(rows: np.ndarray) -> Rankings:
        return counter.rankings(rows, [truth.relevant[row] for row in rows], False, [truth.junk[row] for row in rows])

    rules = {
        "relevant": "gallery items that the data set lists for the query; R is their number",
        "self-match": "items listed as junk, the query itself among them, are taken out of its ranking first",
    }
    if truth.form == "trapezoid":
        rules["average precision"] = "mean of the precision at each hit and one rank earlier, as the Oxford code has it"
    return _scored(rank, np.arange(len(queries)), distances.block_rows(), metrics, truth.form, rules)


def _scored(
    rank: Callable[[np.ndarray], Rankings],
    order: np.ndarray,
    blocks: Iterator[slice],
    metrics: Sequence[str],
    form: Form,
    rules: dict[str, str],
) -> RetrievalResult:
    """Rank the queries in ``order``, block by block, and score the rankings.

    Args:
        rank: gives the rankings of some queries, int64 [n]; it is called from several threads.
        rules: the meaning of "relevant" and the like.
    """
    parsed = {name: _parse(name) for name in metrics}
    average = np.empty(len(order))
    values = {name: np.empty(len(order)) for name in parsed}

    def score(block: slice) -> None:
        rows = order[block]
        rankings = rank(rows)
        length = max(rankings.length, 1)
        average[rows] = _rankings.average_precision(rankings, length, "relevant", form)
        for name, (metric, k) in parsed.items():
            values[name][rows] = metric.score(rankings, k or length, form)

    with block_pool() as pool:
        for _ in pool.map(score, blocks):
            pass
    answered = ~np.isnan(average)
    return RetrievalResult(
        scores={
            name: float(score[answered].mean()) if answered.any() else float("nan") for name, score in values.items()
        },
        per_query_ap=average,
        queries=len(average),
        empty_queries=int(np.count_nonzero(~answered)),
        rules={
            **rules,
            "ties": "exact average over the orders of items at equal distance (float32)",
            "empty queries": "a query without a relevant item is left out of every mean and counted",
            **{name: metric.rule for name, (metric, _) in parsed.items()},
        },
    )


def _classes(query_labels: Any, gallery_labels: Any, queries: int, gallery: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert labels of any dtype to int64 class numbers."""
    first, second = np.asarray(query_labels), np.asarray(gallery_labels)
    if first.shape != (queries,) or second.shape != (gallery,):
        raise ValueError(
            f"labels have shapes {list(first.shape)} and {list(second.shape)}; "
            f"{queries} queries and {gallery} gallery items need [{queries}] and [{gallery}]"
        )
    if any(labels.dtype.kind == "f" and np.isnan(labels).any() for labels in (first, second)):
        raise ValueError("labels hold NaN; a label names a class")
    numbers = np.unique(np.concatenate((first, second)), return_inverse=True)[1].reshape(-1)
    return numbers[:queries], numbers[queries:]


def _members(query_classes: np.ndarray, gallery_classes: np.ndarray) -> list[np.ndarray]:
    """List the gallery items of every class, int64, ascending."""
    order = np.argsort(gallery_classes, kind="stable")
    last = max(int(query_classes.max()), int(gallery_classes.max()))
    return np.split(order, np.searchsorted(gallery_classes[order], np.arange(1, last + 1)))


def nearest_neighbours(
    queries: Any, gallery: Any, k: int, *, distance: Distance = "l2", itself: Any = None
) -> np.ndarray:
    """Find the k nearest gallery items of every query, nearest first; of ties, the lower index comes first.

    Args:
        queries: [Q, D] features, as in ``retrieve``.
        gallery: [G, D].
        k: at most G items are returned (G - 1 with ``itself``).
        itself: int [Q], the gallery item that is the query itself and is left out; None if nothing is left out.

    Returns:
        int64 [Q, min(k, G)].

    Raises:
        ValueError: as ``retrieve``, or k is not a positive whole number.
    """
    distances = Distances(queries, gallery, distance)
    count = min(_positive(k), len(gallery) - (itself is not None))
    numbers = np.arange(len(gallery), dtype=np.uint64)
    result = np.empty((len(queries), count), dtype=np.int64)
    for rows in distances.block_rows():
        # High bits: distance, low bits: index. All keys differ, so the selection does not depend on the algorithm.
        keys = (distances.block(rows).view(np.uint32).astype(np.uint64) << 32) | numbers
        if itself is not None:
            keys[np.arange(len(keys)), np.asarray(itself)[rows]] = np.iinfo(np.uint64).max
        if count < keys.shape[1]:
            keys = np.partition(keys, count, axis=1)[:, :count]
        result[rows] = np.sort(keys, axis=1) & 0xFFFFFFFF
    return result


def binarize(activations: Any) -> np.ndarray:
    """Make hash codes: bit i is activation i > 0.5, most significant bit of the first byte first.

    Args:
        activations: [N, K] in [0, 1].

    Returns:
        uint8 [N, ceil(K / 8)]; unused low bits of the last byte are 0.

    Raises:
        ValueError: an activation is NaN.
    """
    values = np.asarray(activations)
    if np.isnan(values).any():
        raise ValueError("activations hold NaN and have no bits")
    return np.packbits(values > 0.5, axis=-1, bitorder="big")
