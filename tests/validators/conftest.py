from __future__ import annotations

from pathlib import Path

import pytest

from exporters.coreai import CoreAI
from exporters.executorch import ExecuTorch
from exporters.executorch_coreml import ExecuTorchCoreML
from tests._once import shared
from tests.validators import _linear
from validators.mlprogram.light_import import load_coremltools

load_coremltools()  # before a test imports it whole


class Formats(dict[str, Path]):
    """Format -> artifact of the network in ``_linear``; those of slow converters are made when they are asked for."""

    def __init__(self, factory: pytest.TempPathFactory, size: tuple[int, int]) -> None:
        super().__init__(_linear.write_all(factory.mktemp("linear"), *size))
        self._factory, self._size = factory, size

    def __missing__(self, format: str) -> Path:
        slow = (ExecuTorch(optimize="none"), ExecuTorchCoreML(optimize="none"), CoreAI(optimize="none"))
        (exporter,) = (each for each in slow if each.format == format)
        with shared(self._factory, f"linear-{format}") as folder:
            self[format] = _linear.write_slowly(exporter, folder, *self._size)
        return self[format]


class Artifacts(dict[tuple[int, int], Formats]):
    """Image size -> format -> artifact, made when a size is asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        super().__init__()
        self._factory = factory

    def __missing__(self, size: tuple[int, int]) -> Formats:
        self[size] = Formats(self._factory, size)
        return self[size]


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """The network of ``_linear`` in every size and format."""
    return Artifacts(tmp_path_factory)
