"""Operations of w8a8 files that stay in float: the ones that quantization would destroy, within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.contracts import BadInput, Candidates, DeployGraph, EmbeddingSpec, Preprocess
from exporters import planned
from exporters._by_error import relative_error, worst_first
from exporters._deploy import Deployed, describe, optimized
from exporters._float_locations import Limits, Location, Tried, best, neighbours_kept
from exporters._tflite_choice import tried_files
from exporters._tflite_metadata import with_end_names
from exporters._tflite_quantize import Integers, integers
from exporters._written import embedded
from exporters.tflite import TFLite
from tests.exporters._runners import MEAN, STD, run
from validators.timing import timer

SIZE = (16, 24)
AUTO = TFLite(precision="w8a8", keep_float="auto")


class _Faint(nn.Module):
    """The gates of ``faint`` are about 0.001, and the integer of a sigmoid is a multiple of 1/256."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2)
        self.faint, self.strong = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.second, self.last = nn.Conv2d(16, 16, 1), nn.Linear(16, 8)
        with torch.no_grad():
            assert self.faint.bias is not None
            self.faint.bias.fill_(-7)
            self.second.weight *= 1000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = self.second(x * self.faint(x).sigmoid()).relu()
        return self.last((x * self.strong(x).sigmoid()).mean((2, 3)))


@pytest.fixture(scope="module")
def graph(tinted: Callable[..., np.ndarray]) -> DeployGraph:
    torch.manual_seed(0)
    preprocess = Preprocess(SIZE, mean=MEAN, std=STD)
    about = describe(
        name="faint",
        license="CC0-1.0",
        architecture="_Faint",
        preprocess=preprocess,
        embedding=EmbeddingSpec.of(8, "l2"),
    )
    return DeployGraph(Deployed(_Faint().eval(), preprocess, "l2"), SIZE, about, tinted(70, *SIZE))


@pytest.fixture(scope="module")
def content(graph: DeployGraph, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The float file that is quantized."""
    return AUTO.float_file(optimized(graph, AUTO), tmp_path_factory.mktemp("float") / "m.tflite")


@pytest.fixture(scope="module")
def measured(graph: DeployGraph, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[Tried]:
    return tried_files(content, graph, AUTO, None, tmp_path_factory.mktemp("tried"))


def names(kept: Sequence[Location]) -> tuple[str, ...]:
    return tuple(each.name for each in kept)


def agreement(kept: Sequence[str], content: bytes, graph: DeployGraph, path: Path) -> float:
    """The share of neighbours that the file with these operations in float has on LiteRT, as PyTorch finds them."""
    assert graph.calibration is not None
    result, record = integers(content, graph, replace(AUTO, float_at=tuple(kept)))
    path.write_bytes(with_end_names(result))
    assert record["float_at"] == list(kept)
    return neighbours_kept(run(path, graph.calibration), embedded(graph.module, graph.calibration), "l2")


def test_what_quantization_destroys_stays_in_float(
    graph: DeployGraph, content: bytes, measured: list[Tried], tmp_path: Path
) -> None:
    known = Integers(content, graph).locations
    assert {kind: len(some) for kind, some in known.items()} == {"sigmoid": 2, "mean": 1, "mul": 2, "add": 1}
    faint = known["sigmoid"][0].name
    chosen = names(best(measured, Limits()).kept)
    assert chosen[0] == faint
    path = tmp_path / "m.tflite"
    assert agreement(chosen, content, graph, path) > 0.85
    # The control: all others in float are no help.
    others = [each.name for some in known.values() for each in some if each.name != faint]
    assert agreement(others, content, graph, path) < 0.5
    assert agreement((), content, graph, path) < 0.5


def test_a_repeated_choice_gives_the_same_file(
    graph: DeployGraph, content: bytes, measured: list[Tried], tmp_path: Path
) -> None:
    assert tried_files(content, graph, AUTO, None, tmp_path) == measured
    again = replace(AUTO, float_at=names(measured[1].kept))
    assert integers(content, graph, again) == integers(content, graph, again)
    assert integers(content, graph, again)[0] != integers(content, graph, replace(AUTO, float_at=()))[0]
    with pytest.raises(BadInput, match=r"float_at: made for another network or version: .* 'mul Gone\.7'; remove it"):
        integers(content, graph, replace(AUTO, float_at=("mul Gone.7",)))
    with pytest.raises(BadInput, match="float_at: missing"):
        integers(content, graph, AUTO)


def test_the_budget_is_kept(graph: DeployGraph, content: bytes, measured: list[Tried], tmp_path: Path) -> None:
    def by_number(groups: Sequence[Candidates]) -> list[list[float]]:
        return [[2.0 + number for number in range(len(group.files))] for group in groups]

    timed = tried_files(content, graph, replace(AUTO, max_ms=3.5), by_number, tmp_path)
    assert [each.milliseconds for each in timed] == [2.0 + number for number in range(len(measured))]
    assert len(best(timed, Limits(milliseconds=3.5)).kept) == 1
    with pytest.raises(BadInput, match=r"max_ms: 1\.5 is less than the fastest w8a8 file takes here, 2\.000 ms"):
        best(timed, Limits(milliseconds=1.5))
    with pytest.raises(BadInput, match="max_ms: needs a timer"):
        planned(replace(AUTO, max_ms=1.5), graph)
    assert measured[0].bytes < measured[1].bytes
    assert best(measured, Limits(bytes=measured[1].bytes - 1)).kept == ()


@pytest.mark.nightly
def test_an_export_chooses_within_the_budget_and_replays(graph: DeployGraph, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    chosen = planned(replace(AUTO, max_ms=1000.0), graph, timer("tflite"))
    assert isinstance(chosen, TFLite)
    chosen.write(graph, path)
    details, first = chosen.details(path), path.read_bytes()
    assert details["quantization"]["float_at"] == list(chosen.float_at or ()) != []
    assert details["quantization"]["neighbours_kept"] > 0.85
    replace(AUTO, float_at=chosen.float_at).write(graph, path)
    assert path.read_bytes() == first
    limited = planned(replace(AUTO, max_bytes=len(first) - 1), graph)
    limited.write_unchecked(graph, path)
    assert path.stat().st_size < len(first)
    with pytest.raises(BadInput, match=r"max_ms: 1e-06 is less than the fastest w8a8 file takes here, 0\.\d+ ms"):
        planned(replace(AUTO, max_ms=1e-6), graph, timer("tflite"))


def test_errors_and_order_by_hand() -> None:
    """Embeddings on two points; the spread around their mean is 5."""
    right = np.array([[0.0, 0.0], [6.0, 8.0]])
    assert relative_error(right + np.array([3.0, 4.0]), right) == pytest.approx(1.0)
    assert relative_error(right + np.array([0.0, 0.5]), right) == pytest.approx(0.1)
    errors = {"gate": 0.1, "map": 0.2, "sum": 0.001, "mean": 0.0}
    assert worst_first(errors, {"gate": 10, "map": 100, "sum": 1, "mean": 1}) == ["gate", "map"]
    assert worst_first(errors, {"gate": 100, "map": 100, "sum": 1, "mean": 1}) == ["map", "gate"]


def test_neighbours_are_those_of_an_obvious_loop() -> None:
    random = np.random.default_rng(0)
    right = random.standard_normal((30, 4)).astype(np.float32)
    found = right + 0.3 * random.standard_normal((30, 4)).astype(np.float32)

    def nearest(features: np.ndarray, row: int) -> set[int]:
        others = [other for other in range(30) if other != row]
        return set(sorted(others, key=lambda other: float(np.linalg.norm(features[row] - features[other])))[:10])

    slow = np.mean([len(nearest(found, row) & nearest(right, row)) / 10 for row in range(30)])
    assert neighbours_kept(found, right, "l2") == pytest.approx(slow)
    assert 0.3 < slow < 0.95
    assert neighbours_kept(right * 2, right, "l2") == 1


def test_the_fewest_that_keep_most_neighbours_within_the_limits() -> None:
    places = tuple(Location(name, (name,), 1) for name in "abcd")
    rows = [(0, 0.80, 100, 1.0), (1, 0.90, 110, 1.1), (2, 0.95, 120, 1.4), (4, 0.953, 130, 1.5)]
    measured = [Tried(places[:count], *row) for count, *row in rows]
    assert len(best(measured, Limits()).kept) == 2  # 0.003 more is noise
    assert len(best(measured, Limits(milliseconds=1.3)).kept) == 1
    assert len(best(measured, Limits(milliseconds=1.3, bytes=105)).kept) == 0
    with pytest.raises(BadInput, match="max_bytes: 99 is less than the smallest w8a8 file takes, 100 bytes"):
        best(measured, Limits(bytes=99))


def test_options_that_do_not_fit_are_named() -> None:
    assert replace(AUTO, max_ms=0.8).measures()
    assert not AUTO.measures()
    assert AUTO.undecided()
    assert not replace(AUTO, max_ms=0.8, float_at=()).undecided()
    for option, value in (("max_ms", 0.8), ("float_at", ()), ("float_tolerance", 0.1)):
        with pytest.raises(BadInput, match=f"{option}: is that of 'keep_float: auto'"):
            TFLite(precision="w8a8", keep_float=("mul",), **{option: value})
