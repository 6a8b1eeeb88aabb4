"""What the tests of the samples share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.samples._kotlin import SAMPLES, STUBS, compiled


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Kotlin samples and the stubs, compiled."""
    target = tmp_path_factory.mktemp("kotlin") / "samples.jar"
    sources = [*sorted(SAMPLES.rglob("*.kt")), *sorted(STUBS.glob("*.kt"))]
    assert len(sources) == 10 + 15
    done = compiled(target, *sources)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the bundle that COMPRESS_BUNDLE names, or of the tests' own."""
    named = os.environ.get("COMPRESS_BUNDLE")
    folder = Path(named) if named else request.getfixturevalue("finished").folder
    return Path(shutil.copytree(folder, tmp_path / "bundle", ignore=shutil.ignore_patterns(".compress")))
