"""Shards of WebDataset: images are read from their place in the archive, with labels as text or JSON."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.contracts import BadInput
from compress.data.load import load_data
from compress.datasets.webdataset import Webdataset

Photo = Callable[..., Image.Image]


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def shard(
    path: Path, photo: Photo, labels: list[int], first: int = 0, *, how: str = "w", as_json: bool = False
) -> None:
    with tarfile.open(path, how) as archive:  # type: ignore[call-overload]
        for number, label in enumerate(labels, start=first):
            add(archive, f"sub/{number:04d}.png", png(photo(label, number)))
            if as_json:
                add(archive, f"sub/{number:04d}.json", json.dumps({"label": f"class {label}"}).encode())
            else:
                add(archive, f"sub/{number:04d}.cls", f"{label}\n".encode())


def test_images_and_labels_are_those_of_the_shards(tmp_path: Path, photo: Photo) -> None:
    shard(tmp_path / "train-000.tar", photo, [0, 1, 0, 1, 0, 1])
    shard(tmp_path / "train-001.tar", photo, [0, 1, 0, 1], first=6)
    shard(tmp_path / "test-000.tar", photo, [1, 0, 1, 0], first=10)
    with tarfile.open(tmp_path / "test-000.tar", "a") as archive:
        add(archive, "sub/9999.png", png(photo(0, 3)))
        add(archive, "sub/notes.txt", b"no image")
    options = {"root": str(tmp_path), "test": "test-*.tar", "image_size": 32}
    kept, on_demand = (load_data(Webdataset(**options, cache=cache), seed=0) for cache in ("disk", "none"))  # type: ignore[arg-type]
    assert kept.classes == ("0", "1")
    assert len(kept.train) + len(kept.validation) == 10
    assert kept.queries.ids == tuple(f"test-000.tar/sub/{number:04d}.png" for number in range(10, 14))
    assert kept.queries.labels.tolist() == [1, 0, 1, 0]
    assert kept.skipped == {"test-000.tar/sub/9999.png": "has no label .cls"}
    for row, label in enumerate([1, 0, 1, 0]):
        expected = np.asarray(photo(label, 10 + row).resize((32, 32), Image.Resampling.BILINEAR))
        assert np.array_equal(kept.queries.images[row], expected)
    assert np.array_equal(kept.train.images[:], on_demand.train.images[:])
    assert kept.fingerprint == on_demand.fingerprint


def test_labels_may_be_in_json_and_the_shards_undivided(tmp_path: Path, photo: Photo) -> None:
    shard(tmp_path / "a.tar", photo, [0, 1] * 10, as_json=True)
    splits = Webdataset(root=str(tmp_path), train="*.tar", label="json.label").splits(seed=0)
    assert splits.classes == ("class 0", "class 1")
    assert (len(splits.train), len(splits.test)) == (16, 4)
    with pytest.raises(BadInput, match=r"no image of \*\.tar .* has a label \.cls; set data\.label"):
        Webdataset(root=str(tmp_path), train="*.tar").splits(seed=0)
    with pytest.raises(BadInput, match="holds no label 'name'"):
        Webdataset(root=str(tmp_path), train="*.tar", label="json.name").splits(seed=0)


def test_what_is_no_shard_is_refused(tmp_path: Path, photo: Photo) -> None:
    shard(tmp_path / "train-0.tar", photo, [0, 1], how="w:gz")
    with pytest.raises(BadInput, match="is no uncompressed tar archive"):
        Webdataset(root=str(tmp_path)).splits(seed=0)
    (tmp_path / "train-0.tar").write_bytes(b"x" * 2000)
    with pytest.raises(BadInput, match="is no uncompressed tar archive"):
        Webdataset(root=str(tmp_path)).splits(seed=0)
    with pytest.raises(BadInput, match=r"must be below data\.root"):
        Webdataset(root=str(tmp_path), train="../*.tar").splits(seed=0)
    with tarfile.open(tmp_path / "train-0.tar", "w") as archive:
        add(archive, "0.cls", b"x" * 70_000)
    with pytest.raises(BadInput, match="70,000 bytes, which is no label"):
        Webdataset(root=str(tmp_path)).splits(seed=0)


def test_an_image_that_is_damaged_in_its_shard_is_left_out(tmp_path: Path, photo: Photo) -> None:
    shard(tmp_path / "train-0.tar", photo, [0, 1] * 60)
    content = bytearray((tmp_path / "train-0.tar").read_bytes())
    place = content.index(b"\x89PNG")
    content[place : place + 4] = b"JUNK"
    (tmp_path / "train-0.tar").write_bytes(content)
    data = load_data(Webdataset(root=str(tmp_path), image_size=16), seed=0)
    assert list(data.skipped) == ["train-0.tar/sub/0000.png"]
