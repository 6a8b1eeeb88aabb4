"""The sample that brings features into PostgreSQL, against a real server with pgvector."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compress.bundle.manifest import read_manifest
from compress.commands.embed import embed
from compress.commands.index import index
from compress.commands.search import query
from tests._command import REPOSITORY

SAMPLE = REPOSITORY / "examples/python/to_pgvector.py"

pytestmark = pytest.mark.nightly  # the server takes seconds to start; .ci/run runs it with a bundle that it has


@pytest.fixture
def bundle(request: pytest.FixtureRequest) -> Path:
    """The bundle that COMPRESS_BUNDLE names, or the tests' own."""
    named = os.environ.get("COMPRESS_BUNDLE")
    return Path(named) if named else request.getfixturevalue("finished").folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import pgserver  # of the extra "test"

    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


def sample(*arguments: object) -> list[str]:
    command = [sys.executable, str(SAMPLE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_postgresql_holds_and_finds_what_compress_does(
    bundle: Path, url: str, tmp_path: Path, save_photos: Callable[..., list[Path]]
) -> None:
    (artifact,) = [Path(each.path).name for each in read_manifest(bundle).artifacts if each.format == "onnx"]
    photos, features = tmp_path / "photos", tmp_path / "features.parquet"
    for label in range(3):
        save_photos(photos / f"digit {label}", label, 8)

    def load(*names: str) -> list[str]:
        features.unlink(missing_ok=True)
        embed(bundle, [photos], features, artifact=artifact, workers=1)
        return sample(features, url, *names)

    asked = "digit 1/000002.jpg"
    first, *found = load(asked)
    assert first == "24 added, 0 changed, 0 deleted"
    index(bundle, [photos], tmp_path / "own.sqlite", artifact=artifact, workers=1)
    answer = query(bundle, photos / asked, top=11, artifact=artifact, gallery=tmp_path / "own.sqlite")
    assert [line.split("  ", 1)[1] for line in found] == [match.name for match in answer.matches[1:]]
    assert [float(line.split()[0]) for line in found] == pytest.approx(
        [match.distance for match in answer.matches[1:]], abs=2e-6, rel=1e-6
    )
    (photos / "digit 0/000000.jpg").unlink()
    shutil.copyfile(photos / "digit 2/000001.jpg", photos / "digit 0/000001.jpg")
    shutil.copyfile(photos / "digit 2/000002.jpg", photos / "digit 0/new.jpg")
    assert load() == ["1 added, 1 changed, 1 deleted"]
    assert load() == ["0 added, 0 changed, 0 deleted"]
    changed = sample(features, url, "digit 0/000001.jpg")[1]
    assert changed == "0.000000  digit 2/000001.jpg"
