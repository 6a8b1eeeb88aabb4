"""What the benchmarks print beside a time must be right as well."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fusion_times, indexes, retrieval
from benchmarks.profile_run import Stopwatch
from compress.indexes.lsh import Lsh


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
    able = {name: index for name, index in indexes.INDEXES if "l2" in index.distances}
    expected = {"none (NumPy)", *able, *(more for name, index in able.items() for more in indexes.longer(name, index))}
    assert recall.keys() == expected | (set() if indexes.SqliteVec.missing() else {"sqlite-vec, bits"})
    assert len(expected) == len(able) + 1 + len(indexes.CANDIDATES)
    assert recall["usearch"] <= recall["usearch, ef_search 1024"] == 1
    assert recall["none (NumPy)"] == recall["flat"] == 1
    assert 0.3 < recall["lsh"] <= recall["lsh, 32 tables"] <= 1
    _, _, _, _, *alone = indexes.rows(2000, tmp_path, only=["lsh"])
    assert [line.split(" | ")[:2] for line in alone] == [["| lsh", f"{recall['lsh']:.3f}"]]


def test_real_features_are_extended_between_neighbours() -> None:
    random = np.random.default_rng(0)
    real = random.standard_normal((5, 16))[np.arange(80) % 5] + 0.1 * random.standard_normal((80, 16))
    found = indexes.extended(real.astype(np.float32), 300)
    assert np.array_equal(found[:80], real.astype(np.float32))
    apart = np.linalg.norm(found[80:, None] - real[None], axis=2).min(axis=1)
    assert apart.max() < 0.6  # the clusters are about 5 apart
    assert len(np.unique(found, axis=0)) == 300


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


def test_fusion_is_timed_with_and_without_its_index(tmp_path: Path) -> None:
    features = np.abs(np.random.default_rng(0).normal(size=(300, 24))).astype(np.float32)
    title, _, _, exact, lsh = fusion_times.rows(features, "cosine", Lsh(tables=32, bits=4), tmp_path)
    assert title == "300 photographs, 24 values, 200 queries"
    assert exact.startswith("| every photograph | 1.000 | ")
    assert 0.8 < float(lsh.split(" | ")[1]) <= 1
    few = list(fusion_times.rows(features, "cosine", Lsh(tables=1, bits=10), tmp_path))[-1]
    assert float(few.split(" | ")[1]) < 0.5  # recall is measured: an index that looks at little finds little
