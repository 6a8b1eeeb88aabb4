"""What the benchmarks print beside a time must be right as well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import indexes, retrieval
from benchmarks.profile_run import Stopwatch


def test_the_usual_way_and_the_evaluation_agree_on_the_score(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"GALLERY": 2000, "DIM": 70, "CLASSES": 20, "FEW": 96, "ROUNDS": 1}.items():
        monkeypatch.setattr(retrieval, name, value)
    retrieval.main(full=False)
    scores = re.findall(r"mAP (0\.\d+), by argsort (0\.\d+)", capsys.readouterr().out)
    assert len(scores) == 2
    (clustered, by_argsort), (chance, _) = scores
    assert float(clustered) == pytest.approx(float(by_argsort), abs=2e-6)
    assert float(clustered) > 1.2 * float(chance)


def test_every_index_is_measured_and_the_exact_one_is_exact(tmp_path: Path) -> None:
    title, _, _, *lines = indexes.rows(2000, tmp_path)
    assert title.startswith("2,000 vectors, 128 dimensions; tenth neighbour at ")
    recall = {line.split(" | ")[0].removeprefix("| "): float(line.split(" | ")[1]) for line in lines}
    assert recall.keys() == {"none (NumPy)", *(name for name, _ in indexes.INDEXES)}
    assert recall["none (NumPy)"] == recall["flat"] == 1
    assert 0.3 < recall["lsh"] <= recall["lsh, 32 tables"] <= 1


def test_the_outermost_step_gets_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("benchmarks.profile_run.time.perf_counter", lambda: next(clock))
    watch = Stopwatch()
    inner = watch.timed("inference", lambda: None)
    watch.timed("conversion", inner)()
    assert watch.seconds == {"conversion": 1}
    inner()
    assert watch.seconds == {"conversion": 1, "inference": 1}

    def fails() -> None:
        raise ValueError("no images")

    with pytest.raises(ValueError, match="no images"):
        watch.timed("training", fails)()
    inner()
    assert watch.seconds == {"conversion": 1, "inference": 2, "training": 1}
