"""A dozen networks in the formats that differ most; ``benchmarks.networks`` goes through all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import networks
from benchmarks._micro_networks import MICRO
from benchmarks.networks import FIXED, SIZES, SUFFIXES, TIMM, cases, main, measured, table

CASES = [
    ("conv transposed", ".onnx"),
    ("conv, reflecting", ".onnx"),
    ("max pool, ceil", ".tflite"),
    ("average pool, border", ".mlpackage"),
    ("adaptive average pool", ".onnx"),
    ("nearest, odd", ".tflite"),
    ("group norm", ".mlpackage"),
    ("multi-head attention", ".pt"),
    ("branches", ".tflite"),
    ("size-dependent", ".onnx"),
    ("GELU, tanh", ".pt"),
    ("replication pad", ".mlpackage"),
    ("slice of everything", ".mlpackage"),
]


@pytest.mark.every_change("max pool, ceil")
@pytest.mark.parametrize("number", range(len(CASES)), ids=[name for name, _ in CASES])
def test_a_dozen_networks_are_exact(number: int) -> None:
    name, suffix = CASES[number]
    assert measured(MICRO[name], SIZES[number % 3], suffix) == "exact"
    assert measured(MICRO[name], SIZES[number % 3], "pruned") in ("exact", "unchanged")


@pytest.mark.nightly
@pytest.mark.parametrize("name", MICRO)
def test_every_micro_network_is_exact_or_refused(name: str) -> None:
    for size in SIZES:
        for what in (*SUFFIXES, "pruned"):
            outcome = measured(MICRO[name], size, what).partition(":")[0]
            assert outcome in ("exact", "refused", "unchanged"), f"{size} {what}"


def test_all_cases_are_there() -> None:
    assert len(TIMM) >= 60
    assert len(set(TIMM)) == len(TIMM)
    assert len(MICRO) >= 50
    assert set(FIXED) <= set(TIMM)
    several = len(TIMM) + len(MICRO) - len(FIXED)
    assert len(list(cases(()))) == (several * len(SIZES) + len(FIXED)) * (len(SUFFIXES) + 1)


def test_it_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    path, seen = tmp_path / "r.jsonl", []

    def outcome(make: object, size: tuple[int, int], what: str) -> str:
        seen.append((size, what))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return "exact" if size != (65, 65) else "refused: odd"

    monkeypatch.setattr(networks, "measured", outcome)
    with pytest.raises(KeyboardInterrupt):
        main(path, ["lcnet_050"])
    main(path, ["lcnet_050"])
    assert len(seen) == 3 * 5 + 1 and len(set(seen)) == 15
    found = table([json.loads(line) for line in path.read_text().splitlines()])
    assert "| lcnet_050 | 64x64 exact, 65x65 refused, 64x96 exact |" in found
    results = [json.loads(line) for line in path.read_text().splitlines()]
    assert "| lcnet_050, twin | 64x64" in table([*results, *({**each, "network": "twin"} for each in results)])
