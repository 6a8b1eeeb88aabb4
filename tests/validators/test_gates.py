"""Gates: directions, limits that are met exactly, and values that are not there."""

from __future__ import annotations

import math

import pytest

from compress.contracts import BadInput
from validators.gates import RULES, check_names, default_limits, evaluate_gates, located, located_all
from validators.measure import judge
from validators.results import Measurement, Neighbours, Parity, Ranking


def test_every_gate_passes_at_its_limit_and_fails_on_the_wrong_side() -> None:
    assert len(RULES) >= 20
    for name, rule in RULES.items():
        worse = -1 if rule.direction == "at least" else 1
        for value, passed in ((5.0, True), (5.0 - worse, True), (5.0 + worse, False)):
            (gate,) = evaluate_gates({name: 5.0}, {rule.location: value})
            assert (gate.name, gate.limit, gate.value, gate.passed) == (name, 5.0, value, passed)


@pytest.mark.parametrize("values", [{}, {"retrieval.mAP": None}, {"retrieval.mAP": math.nan}])
def test_what_was_not_measured_fails(values: dict) -> None:
    (gate,) = evaluate_gates({"mAP": -math.inf}, values)
    assert not gate.passed
    assert gate.value is None


def test_unmeasured_values_fail_downward_limits_too() -> None:
    (gate,) = evaluate_gates({"mAP_drop": math.inf}, {"retrieval.mAP_drop": math.nan})
    assert not gate.passed


def test_no_section_answers_for_another() -> None:
    sections = {rule.section for rule in RULES.values()} | {"ranking"}
    assert len(sections) >= 12
    for name, rule in RULES.items():
        others = {f"{section}.{rule.value}": 0.5 for section in sections - {rule.section}}
        (gate,) = evaluate_gates({name: 0.5}, others)
        assert (gate.value, gate.passed) == (None, False)


def test_a_ranking_value_named_like_a_parity_value_satisfies_no_parity_gate() -> None:
    class MadeUp(Ranking):
        min_cosine: float = 1.0

    made_up = MadeUp.unmeasured(None)
    assert located("ranking", made_up)["ranking.min_cosine"] == 1
    parity = Parity.unmeasured(None).model_copy(update={"min_cosine": 1.0})
    for measurement, passed in ((Measurement(ranking=made_up), False), (Measurement(parity=parity), True)):
        (gate,) = judge({"min_cosine": 0.9}, measurement, None, {})
        assert gate.passed is passed


def test_every_measured_gate_looks_into_a_section_of_a_measurement() -> None:
    sections = {rule.section for rule in RULES.values()} - {"file", "model", "gallery", "upgrade"}
    assert len(sections) >= 4
    assert sections <= Measurement.model_fields.keys()
    measured = Measurement(neighbours=Neighbours(golden_neighbours=0.5), notes=("a line",))
    assert located_all(measured) == {"neighbours.golden_neighbours": 0.5}


def test_an_unknown_gate_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'min_cosine'"):
        evaluate_gates({"min_cosin": 0.9}, {"parity.min_cosin": 1.0})
    with pytest.raises(BadInput, match="did you mean 'mAP_drop'"):
        check_names(["mAP", "map_drop"])


def test_a_limit_that_is_no_number() -> None:
    with pytest.raises(BadInput, match="gate 'mAP': the limit is NaN"):
        evaluate_gates({"mAP": math.nan}, {"retrieval.mAP": 1.0})


def test_default_limits_loosen_with_the_precision_and_are_gates() -> None:
    strict, half, quantised, coarse = (default_limits(precision) for precision in ("fp32", "fp16", "w8", "p4"))
    assert strict == {
        "control_ratio": 1.0,
        "min_cosine": 0.99999,
        "min_centered_cosine": 0.9999,
        "max_rel_error": 1e-4,
        "mAP_drop": 0.001,
        "golden_neighbours": 0.99,
    }
    assert half == {"control_ratio": 1.0, "min_cosine": 0.998, "mAP_drop": 0.005, "golden_neighbours": 0.95}
    assert strict["min_cosine"] > half["min_cosine"] > quantised["min_cosine"] > coarse["min_cosine"]
    assert strict["mAP_drop"] < half["mAP_drop"] <= quantised["mAP_drop"] < coarse["mAP_drop"]
    assert half["golden_neighbours"] > quantised["golden_neighbours"] > coarse["golden_neighbours"]
    with pytest.raises(BadInput, match="precision: 'p2' has no limits"):
        default_limits("p2")
    assert default_limits("fp32", "torchscript-lite") == strict | {"mobile_problems": 0}
    assert default_limits("fp32", "onnx") == strict
    assert default_limits("fp32", kind="local") == strict | {"golden_neighbours": 0.85}
    assert default_limits("p4", kind="local") == coarse
    strict["min_cosine"] = 0
    assert default_limits("fp32")["min_cosine"] == 0.99999
