"""A golden pack of strangers: sizes are compared before anything is allocated, and no link is followed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.bundle.golden import make_golden, read_golden, write_golden
from compress.contracts import BadInput
from tests import _pooled


@pytest.fixture
def pack(tmp_path: Path, digit_images: np.ndarray) -> Path:
    """Five golden images."""
    pictures = _pooled.images(digit_images, 2)
    gallery = _pooled.write(tmp_path / "g.sqlite", pictures)
    rows = np.arange(5)
    embeddings = _pooled.embed(pictures)[rows]
    golden = make_golden(pictures.images[rows], pictures.labels[rows], pictures.ids[:5], embeddings, gallery, True)
    write_golden(tmp_path / "golden", golden, _pooled.CLASSES, gallery, "CC0-1.0")
    return tmp_path / "golden"


def described(**values: Any) -> Callable[[Path], object]:
    """Replace values of golden.json."""

    def edit(pack: Path) -> None:
        content = {**json.loads((pack / "golden.json").read_text()), **values}
        (pack / "golden.json").write_text(json.dumps(content))

    return edit


def in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def edit(pack: Path) -> None:
        (pack / name).unlink()
        make(pack / name)

    return edit


def endless_picture(path: Path) -> None:
    """A PNG of few bytes that unpacks to 400 MB of RGB."""
    Image.new("1", (12_000, 12_000)).save(path)


HOSTILE = {
    "a huge shape": described(embeddings={"shape": [10**9, 10**9]}),
    "a shape of -1": described(tensors={"shape": [-1, 28, 28, 3]}),
    "a shape of one number": described(embeddings={"shape": [245]}),
    "a shape of text": described(embeddings={"shape": "5"}),
    "no list of images": described(images=3),
    "images of numbers": described(images=[1, 2, 3, 4, 5]),
    "a huge class": described(images=[{"class": 2**63 - 1, "source": "", "neighbours": []}] * 5),
    "text as class": described(images=[{"class": "x", "source": "", "neighbours": []}] * 5),
    "a gallery that is none": described(gallery=[]),
    "a link outside": in_place_of("images/003.png", lambda path: path.symlink_to("/etc/passwd")),
    "a link in place of tensors": in_place_of("images.u8", lambda path: path.symlink_to("/dev/zero")),
    "a FIFO": in_place_of("embeddings.f32", os.mkfifo),
    "a FIFO in place of a picture": in_place_of("images/000.png", os.mkfifo),
    "a FIFO in place of the list": in_place_of("golden.json", os.mkfifo),
    "a folder": in_place_of("images.u8", Path.mkdir),
    "an endless picture": in_place_of("images/001.png", endless_picture),
    "another format": in_place_of("images/001.png", lambda path: Image.new("RGB", (28, 28)).save(path, "GIF")),
    "NaN": lambda pack: (pack / "embeddings.f32").write_bytes(np.full((5, 49), np.nan, "<f4").tobytes()),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pack_is_one_line(pack: Path, what: str) -> None:
    HOSTILE[what](pack)
    with pytest.raises(BadInput, match=r"golden\.json: the golden pack is damaged") as caught:
        read_golden(pack)
    assert len(str(caught.value).splitlines()) == 1


def test_the_pack_as_it_was_written_is_read(pack: Path) -> None:
    assert read_golden(pack).images.shape == (5, 28, 28, 3)


def test_strays_of_every_kind_go_and_what_they_point_to_stays(pack: Path, digit_images: np.ndarray) -> None:
    outside = pack.with_name("outside")
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (pack / "images" / "link").symlink_to(outside)
    (pack / "images" / "folder").mkdir()
    os.mkfifo(pack / "images" / "fifo")
    pictures = _pooled.images(digit_images, 2)
    gallery = _pooled.write(pack.with_name("g.sqlite"), pictures)
    write_golden(pack, read_golden(pack), _pooled.CLASSES, gallery, "CC0-1.0")
    assert sorted(path.name for path in (pack / "images").iterdir()) == [f"{number:03d}.png" for number in range(5)]
    assert (outside / "kept").read_text() == "kept"
