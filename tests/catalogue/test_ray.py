"""``compress embed --ray``: a cluster of two workers gives the file of one process, also if a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.bundle.manifest import read_manifest
from compress.catalogue import ray_workers
from compress.catalogue.embedding import open_engine
from compress.catalogue.photographs import find_photographs
from compress.catalogue.ray_workers import embed_on_ray
from compress.commands.embed import embed
from compress.contracts import BadInput, MissingTool
from tests._command import compress_here
from tests.conftest import Finished
from validators import ArtifactError

ARTIFACT = "tiny.fp32.onnx"


@pytest.fixture
def photos(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    """160 photographs, ten chunks, and a file that is none."""
    for label in range(4):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 40)
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff none")
    return tmp_path / "photos"


def workers_of_ray() -> list[int]:
    """The processes of Ray's actors that are descendants of this process."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        try:
            names[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")[0].decode()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (ValueError, OSError):
            continue

    def ours(number: int) -> bool:
        while number > 1 and number != os.getpid():
            number = parents.get(number, 1)
        return number == os.getpid()

    return [number for number, name in names.items() if name.startswith("ray::_Worker") and ours(number)]


@pytest.mark.nightly
def test_a_killed_worker_changes_no_bit(
    finished: Finished, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"artifact": ARTIFACT, "workers": 2}
    embed(finished.folder, [photos], tmp_path / "alone.npy", artifact=ARTIFACT, workers=1)
    killed: list[int] = []

    def killing(*arguments: Any) -> Iterator[Sequence[Any]]:
        for number, some in enumerate(embed_on_ray(*arguments)):
            yield some
            if number == 1:
                both = workers_of_ray()
                assert len(both) == 2
                killed.append(both[0])
                os.kill(killed[0], signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(ray_workers, "embed_on_ray", killing)
        job = embed(finished.folder, [photos], tmp_path / "killed.npy", ray="local", **options)
    assert len(killed) == 1 and not workers_of_ray()
    assert (job.images, job.embedded, list(job.left_out)) == (160, 160, ["broken.jpg"])
    ended = compress_here(
        *("embed", finished.folder, photos, "--out", tmp_path / "cluster.npy"),
        *("--artifact", ARTIFACT, "--ray", "local", "--workers", "2"),
    )
    assert ended.code == 0, ended.stderr
    whole = np.load(tmp_path / "alone.npy")
    assert whole.shape == (160, 64) and len(np.unique(whole, axis=0)) == 160
    for name in ("killed", "cluster"):
        for suffix in (".npy", ".csv"):
            assert (tmp_path / f"{name}{suffix}").read_bytes() == (tmp_path / f"alone{suffix}").read_bytes()


@pytest.mark.nightly
def test_an_interrupted_job_goes_on_and_another_artifact_is_refused(
    finished: Finished, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*arguments: Any) -> Iterator[Sequence[Any]]:
        with closing(embed_on_ray(*arguments)) as batches:
            yield next(batches)
            raise KeyboardInterrupt

    options: dict[str, Any] = {"artifact": ARTIFACT, "workers": 2, "ray": "local"}
    with monkeypatch.context() as patch:
        patch.setattr(ray_workers, "embed_on_ray", stops)
        with pytest.raises(KeyboardInterrupt):
            embed(finished.folder, [photos], tmp_path / "part.npy", **options)
    job = embed(finished.folder, [photos], tmp_path / "part.npy", **options)
    assert job.images == 160 and 140 <= job.embedded < 160

    engine = open_engine(finished.folder, read_manifest(finished.folder), ARTIFACT, None, 1)
    monkeypatch.setattr(ray_workers, "artifact_sha256", lambda path: "another")
    with (
        pytest.raises(ArtifactError, match=rf"{ARTIFACT}: is missing or another file on .*; put the bundle where"),
        closing(embed_on_ray(engine, find_photographs([photos]).found, "local", 1)) as batches,
    ):
        next(batches)


def test_without_ray_or_a_cluster_it_says_what_to_do(
    finished: Finished, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingTool, match=r"--ray needs ray, not installed here; .*compress-retrieval\[ray\]"):
        embed(finished.folder, [photos], tmp_path / "none.npy", artifact=ARTIFACT, ray="local")

    class Unreachable:
        @staticmethod
        def init(**options: Any) -> None:
            raise ConnectionError(f"Could not connect to {options['address']}\nand more")

    monkeypatch.setitem(sys.modules, "ray", Unreachable)
    with pytest.raises(BadInput, match=r"--ray 10\.0\.0\.9:6379: no cluster answers there \(Could not connect to 10"):
        embed(finished.folder, [photos], tmp_path / "none.npy", artifact=ARTIFACT, ray="10.0.0.9:6379")
