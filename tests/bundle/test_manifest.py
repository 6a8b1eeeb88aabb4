from __future__ import annotations

from compress.bundle.manifest import failures


def control(precision: str, caught: bool) -> dict[str, object]:
    return {"name": "channel_swap", "precision": precision, "failed_gates": [], "caught": caught}


def test_a_control_that_no_precision_of_the_run_catches_is_a_failure() -> None:
    passed = failures({"artifacts": [], "controls": [control("w8a8", caught=False), control("p4", caught=False)]})
    assert [line.split(",")[0] for line in passed] == [
        "control channel_swap: passed every w8a8 gate",
        "control channel_swap: passed every p4 gate",
    ]


def test_a_finer_precision_speaks_for_the_coarser_ones() -> None:
    assert failures({"artifacts": [], "controls": [control("fp32", caught=True), control("p4", caught=False)]}) == []
