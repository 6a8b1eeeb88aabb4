from __future__ import annotations

from pathlib import Path

import pytest

from tests.validators import _linear

Artifacts = dict[tuple[int, int], dict[str, Path]]


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Image size -> format -> artifact of the network in ``_linear``."""
    folder = tmp_path_factory.mktemp("linear")
    return {size: _linear.write_all(folder, *size) for size in _linear.SIZES}
