from __future__ import annotations

from pathlib import Path

import pytest

from exporters.coreai import CoreAI
from exporters.executorch import ExecuTorch
from tests._once import shared
from tests.validators import _linear
from validators.coreai_environment import COREAI_PYTHON
from validators.executorch_environment import EXECUTORCH_PYTHON

Artifacts = dict[tuple[int, int], dict[str, Path]]


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Image size -> format -> artifact of the network in ``_linear``."""
    folder = tmp_path_factory.mktemp("linear")
    files = {size: _linear.write_all(folder, *size) for size in _linear.SIZES}
    if EXECUTORCH_PYTHON.unavailable() is None:
        with shared(tmp_path_factory, "linear-pte") as slow:
            for size in _linear.SIZES:
                files[size]["executorch"] = _linear.write_slowly(ExecuTorch(optimize="none"), slow, *size)
    if COREAI_PYTHON.unavailable() is None:
        with shared(tmp_path_factory, "linear-aimodel") as slow:
            for size in _linear.SIZES:
                files[size]["coreai"] = _linear.write_slowly(CoreAI(optimize="none"), slow, *size)
    return files
