"""``compress embed``: one row for each photograph, as the artifact gives it."""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from compress.bundle.manifest import read_manifest
from compress.catalogue.embedding import embed_photographs, kept_memory
from compress.commands import embed as command
from compress.commands.embed import embed
from compress.commands.index import index
from compress.contracts import BadInput, MissingTool, Preprocess
from compress.data.images import read_image
from compress.gallery.store import read_gallery
from compress.system.files import artifact_sha256
from tests._command import compress
from tests.conftest import Finished

ARTIFACT = "tiny.fp32.onnx"


@pytest.fixture
def bundle(finished: Finished) -> Path:
    return finished.folder


@pytest.fixture
def photos(tmp_path: Path, save_photos: Callable[..., list[Path]]) -> Path:
    for label in range(2):
        save_photos(tmp_path / "photos" / f"digit {label}", label, 12)
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff none")
    return tmp_path / "photos"


def test_both_files_hold_what_an_index_holds(bundle: Path, photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"artifact": ARTIFACT, "workers": 2}
    jobs = [embed(bundle, [photos], tmp_path / f"all{suffix}", **options) for suffix in (".parquet", ".npy")]
    assert [(job.images, job.embedded, list(job.left_out)) for job in jobs] == [(24, 24, ["broken.jpg"])] * 2
    index(bundle, [photos], tmp_path / "own.sqlite", **options)
    gallery = read_gallery(tmp_path / "own.sqlite")

    table = parquet.read_table(tmp_path / "all.parquet")
    assert table["name"].to_pylist() == list(gallery.names)
    assert table["label"].to_pylist() == list(gallery.labels)
    assert np.array_equal(np.stack(table["embedding"].to_numpy()), gallery.features)
    hashes = [artifact_sha256(photos / name) for name in gallery.names]
    assert [each.hex() for each in table["sha256"].to_pylist()] == hashes
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert about["space_id"] == read_manifest(bundle).embedding.space_id
    assert about["artifact_sha256"] == artifact_sha256(bundle / "artifacts" / ARTIFACT)

    assert np.array_equal(np.load(tmp_path / "all.npy"), gallery.features)
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["name", "label", "sha256"], *map(list, zip(gallery.names, gallery.labels, hashes, strict=True))]


def test_memory_that_is_used_again_changes_no_pixel(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    before = Image.core.get_blocks_max()
    for number, (mode, size) in enumerate([("RGB", (1200, 900)), ("RGBA", (450, 700)), ("L", (999, 350))]):
        shape = (*size[::-1], len(mode))
        Image.fromarray(random.integers(0, 256, shape, np.uint8).squeeze()).save(tmp_path / f"{number}.tif")
    ways = [Preprocess((48, 64), crop=crop) for crop in ("pad", "center", "none")]
    expected = [read_image(file, way) for file in sorted(tmp_path.iterdir()) for way in ways]
    with kept_memory(1):
        assert Image.core.get_blocks_max() > before
        for _ in range(2):  # white and black photographs in between leave their pixels in that memory
            read_image(_flat(tmp_path, 255), ways[0]), read_image(_flat(tmp_path, 0), ways[1])
            found = [read_image(tmp_path / f"{number}.tif", way) for number in range(3) for way in ways]
            assert all(map(np.array_equal, found, expected))
    assert Image.core.get_blocks_max() == before


def _flat(folder: Path, grey: int) -> Path:
    Image.new("RGB", (1300, 1000), (grey, grey, grey)).save(folder / f"flat{grey}.jpg")
    return folder / f"flat{grey}.jpg"


def test_an_interrupted_job_goes_on_where_it_stopped(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*arguments: Any) -> Iterator[Any]:
        yield next(embed_photographs(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "embed_photographs", stops)
        with pytest.raises(KeyboardInterrupt):
            embed(bundle, [photos], tmp_path / "part.npy", artifact=ARTIFACT, workers=1)
    shown: list[Any] = []

    @contextmanager
    def ticker(*what: Any) -> Iterator[Any]:
        done: list[int] = []
        yield SimpleNamespace(advance=done.append)
        shown.append((*what, sum(done)))

    monkeypatch.setattr(command, "ticker", ticker)
    job = embed(bundle, [photos], tmp_path / "part.npy", artifact=ARTIFACT, workers=2)
    assert (job.images, job.embedded) == (24, 9)  # broken.jpg was the first of the sixteen
    assert shown == [("embed", 10, "photographs", 10)]  # the bar counts what is left, broken.jpg included
    embed(bundle, [photos], tmp_path / "whole.npy", artifact=ARTIFACT, workers=1)
    assert (tmp_path / "part.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_full_disk_loses_nothing(bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(command, "_write_npy", full)
        with pytest.raises(
            MissingTool, match=r"all\.npy: the disk is full; free some space and start the same command"
        ):
            embed(bundle, [photos], tmp_path / "all.npy", artifact=ARTIFACT, workers=1)
    assert not (tmp_path / "all.npy").exists()
    job = embed(bundle, [photos], tmp_path / "all.npy", artifact=ARTIFACT, workers=1)
    assert (job.images, job.embedded) == (24, 0)


def test_a_second_writer_is_refused_and_harms_nothing(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, refused = tmp_path / "all.npy", []

    def meanwhile(*arguments: Any) -> Iterator[Any]:
        batches = embed_photographs(*arguments)
        yield next(batches)
        with pytest.raises(BadInput, match=r"all\.npy: another command is writing it; wait until") as caught:
            embed(bundle, [photos / "digit 1"], file, artifact=ARTIFACT, workers=1)
        refused.append(caught.value)
        yield from batches

    monkeypatch.setattr(command, "embed_photographs", meanwhile)
    job = embed(bundle, [photos], file, artifact=ARTIFACT, workers=1)
    assert (len(refused), job.images, job.embedded, len(np.load(file))) == (1, 24, 24, 24)


def test_bad_input_is_one_line(bundle: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--out features\.json: give a file with the suffix \.parquet or \.npy"):
        embed(bundle, [photos], Path("features.json"))
    with pytest.raises(BadInput, match="none of 1 photographs could be decoded"):
        embed(bundle, [photos / "broken.jpg"], tmp_path / "none.npy", artifact=ARTIFACT)


def test_the_command_says_what_it_did(bundle: Path, photos: Path, tmp_path: Path) -> None:
    ended = compress("embed", bundle, photos, "--out", tmp_path / "all.npy", "--artifact", ARTIFACT)
    assert ended.code == 0, ended.stderr
    first, second = ended.stdout.splitlines()
    assert first == f"{tmp_path / 'all.npy'}: 24 images; 24 embedded now, 1 left out"
    assert second.startswith("left out: broken.jpg: ")
