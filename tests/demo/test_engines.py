"""A runtime's process that dies costs a restart, not an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from compress.demo.engines import Engine
from tests.demo._dying import TOKENS, Dying, started
from validators import ArtifactError
from validators.resident import Resident

IMAGE = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[Callable[[int], Engine]]:
    residents = []
    for number in range(TOKENS):
        (tmp_path / "tokens" / f"{number}").mkdir(parents=True)

    def make(times: int) -> Engine:
        runtime = Dying(tokens=str(tmp_path / "tokens"), times=times)
        residents.append(Resident(runtime, tmp_path / "any"))
        return Engine("any", "any", {}, runtime, None, residents[-1])

    yield make
    for resident in residents:
        resident.close()


def test_a_process_that_died_is_started_again(dying: Callable[[int], Engine], tmp_path: Path) -> None:
    embedding, _ = dying(1).embed(IMAGE)
    assert embedding.tolist() == [[1, 1]]
    assert started(tmp_path / "tokens") == 2


def test_one_that_always_dies_is_an_error_after_the_second_time(dying: Callable[[int], Engine], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="SIGKILL"):
        dying(9).embed(IMAGE)
    assert started(tmp_path / "tokens") == 2
