"""coremltools' own tests run on the reference executor, and find an operation that computes something else."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from benchmarks.coremltools_tests import DIFFERS, PASSED, UNSUPPORTED, Unsupported, executed, main, require_same, table
from benchmarks.coremltools_tests import Differs as DiffersError
from validators.mlprogram.ops import OPERATIONS

X = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)


def test_a_program_of_constants_gives_its_values() -> None:
    found = executed(lambda x: [mb.clamped_relu(x=x, alpha=2.0, beta=1.0), mb.relu(x=x)], {"x": X}, ct.target.iOS15)
    right = [np.array([[-2, 1, -6], [1, -10, 1]]), np.maximum(X, 0)]
    require_same(found, right, 1e-5, 1e-5)
    with pytest.raises(DiffersError, match="differs by 1"):
        require_same(found, [right[0], right[1] + 1], 1e-5, 1e-5)
    with pytest.raises(DiffersError, match="shape"):
        require_same(found, [right[0], right[1].T], 1e-5, 1e-5)


def test_an_operation_that_is_missing_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(OPERATIONS, "relu")
    with pytest.raises(Unsupported, match="no operation 'relu'"):
        executed(lambda x: mb.relu(x=x), {"x": X}, ct.target.iOS15)


@pytest.mark.nightly
def test_every_outcome_is_counted() -> None:
    counts: Any = main(["-k", "TestClampedReLU or TestCropResize"]).found
    assert counts["TestClampedReLU"][PASSED] >= 2 and set(counts["TestClampedReLU"]) == {PASSED}
    assert counts["TestCropResize"][UNSUPPORTED] >= 2 and not counts["TestCropResize"][DIFFERS]
    assert "| CropResize |" in table(counts) and "| ClampedReLU |" not in table(counts)
