"""Every operation against its definition in NumPy, one by one and in random graphs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.validators.mlprogram._build import SHAPE, flattened, photos, scaled, write
from tests.validators.mlprogram._cases import CASES, Case
from validators.mlprogram.execute import Executor
from validators.mlprogram.ops import OPERATIONS
from validators.mlprogram.program import load

TARGETS = (ct.target.iOS16, ct.target.iOS18)
IMAGES = photos(3)
SIZE = int(np.prod(SHAPE))

Results = dict[tuple[str, ct.target], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """(case, target) -> what the executor gives and what it should, [3, n]. One package per target holds all cases."""
    folder = tmp_path_factory.mktemp("ops")
    found: Results = {}
    for target in TARGETS:
        cases = [case for case in CASES if case.target == target]
        expected = [np.stack([np.ravel(case.expect(image[None])) for image in scaled(IMAGES)]) for case in cases]

        def all_cases(x: Any, cases: list[Case] = cases) -> Any:
            return mb.concat(values=[flattened(case.build(x)) for case in cases], axis=1)

        path = write(folder / f"{target.name}.mlpackage", all_cases, target=target)
        outputs = Executor(load(path))(IMAGES)
        assert outputs.shape[1] == sum(each.shape[1] for each in expected)
        ends = list(itertools.accumulate(each.shape[1] for each in expected))
        for case, part, each in zip(cases, np.split(outputs, ends[:-1], axis=1), expected, strict=True):
            assert (str(case), target) not in found
            found[str(case), target] = part, each
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case}-{case.target.name}")
def test_an_operation_gives_what_its_definition_says(case: Case, results: Results) -> None:
    found, expected = results[str(case), case.target]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_every_operation_has_a_case() -> None:
    assert {case.operation for case in CASES} == set(OPERATIONS)
    assert len(OPERATIONS) > 100


def test_a_neighbouring_case_is_told_apart(results: Results) -> None:
    """Control: no two cases that differ in one attribute give the same numbers."""
    wrong = []
    for (one, _), (other, _) in itertools.combinations(results, 2):
        if one.split(" ")[0] == other.split(" ")[0]:
            (a, _), (b, _) = (next(v for (name, _), v in results.items() if name == n) for n in (one, other))
            if one != other and a.shape == b.shape and np.allclose(a, b, atol=2e-5):
                wrong.append((one, other))
    # Where the last grid point does not depend on the mode, two names are one thing.
    assert wrong == [("resize_bilinear STRICT_ALIGN_CORNERS", "resize_bilinear ALIGN_CORNERS")]


# ------------------------------------------------------------------------------------------------- random graphs

SMOOTH = [case for case in CASES if not case.exact and case.target == ct.target.iOS18]
ANY = [case for case in CASES if case.target == ct.target.iOS18]


@cache
def _repeats(count: int) -> int:
    return -(-SIZE // count)


def _fit(value: Any) -> Any:
    """Any result as [1, 4, 6, 10] between -1 and 1, so that it can be the next operation's input."""
    flat = flattened(value)
    flat = mb.tile(x=flat, reps=[1, _repeats(flat.shape[1])])
    return mb.tanh(x=mb.reshape(x=mb.slice_by_size(x=flat, begin=[0, 0], size=[1, SIZE]), shape=SHAPE))


def _fit_expected(value: Any) -> np.ndarray:
    flat = np.ravel(np.asarray(value, np.float64))
    fitted: np.ndarray = np.tanh(np.tile(flat, _repeats(len(flat)))[:SIZE].reshape(SHAPE))
    return fitted


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[Case, int]]:
    """Operations, each with the number of the earlier value it takes; the pixels are value 0."""
    steps: list[tuple[Case, int]] = []
    for number in range(draw(st.integers(3, 8))):
        source = draw(st.integers(0, number))
        steps.append((draw(st.sampled_from(ANY if source == 0 else SMOOTH)), source))
    return steps


def _apply(steps: list[tuple[Case, int]], first: Any, run: Callable[[Case, Any], Any], join: Callable[..., Any]) -> Any:
    values = [first]
    for case, source in steps:
        values.append(run(case, values[source]))
    return join(values[1:])


@pytest.mark.nightly
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=graphs(), layout=st.sampled_from(["RGB", "BGR"]))
def test_random_graphs(steps: list[tuple[Case, int]], layout: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.mlpackage"

    def build(x: Any) -> Any:
        run = lambda case, value: _fit(case.build(value))  # noqa: E731
        return _apply(steps, x, run, lambda values: mb.concat(values=[flattened(v) for v in values], axis=1))

    write(path, build, layout=layout)
    found = Executor(load(path))(IMAGES)
    pixels = scaled(IMAGES if layout == "RGB" else IMAGES[..., ::-1])
    for row, image in zip(found, pixels, strict=True):
        run = lambda case, value: _fit_expected(case.expect(value))  # noqa: E731
        expected = _apply(steps, image[None], run, lambda values: np.concatenate([v.ravel() for v in values]))
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-3)
