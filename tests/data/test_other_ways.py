"""Photographs prepared as apps do: each kernel worked by hand, each way near the right one and not equal to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.contracts import ArchivedImage, PhotoOptions, Preprocess
from compress.data.images import read_archived, read_image
from compress.data.other_ways import resized, ways

ROW = np.array([0, 10, 20, 30, 100, 200, 0, 40], np.uint8)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("area", [15, 85]),
        ("bilinear", [15, 100]),  # the mean of the two pixels around each centre: (10 + 20) / 2, (200 + 0) / 2
    ],
)
def test_kernels_worked_by_hand(kernel: str, expected: list[int]) -> None:
    image = Image.fromarray(np.repeat(np.tile(ROW, (8, 1))[..., None], 3, axis=2))
    found = resized(image, Preprocess(size=(2, 2)), kernel)
    assert found.shape == (2, 2, 3)
    assert found[0, :, 0].tolist() == expected


def test_nearest_takes_pixels_and_bicubic_overshoots() -> None:
    image = Image.fromarray(np.repeat(np.tile(ROW, (8, 1))[..., None], 3, axis=2))
    assert set(resized(image, Preprocess(size=(2, 2)), "nearest").ravel().tolist()) <= set(ROW.tolist())
    step = Image.fromarray(np.repeat(np.tile(np.repeat([50, 200], 8), (16, 1)).astype(np.uint8)[..., None], 3, axis=2))
    assert resized(step, Preprocess(size=(8, 8)), "bicubic").max() > 200


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A JPEG of 320 x 200 pixels with detail, that EXIF turns."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 255, (50, 80, 3), np.uint8)).resize(
        (320, 200), Image.Resampling.BICUBIC
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    coarse.save(tmp_path / "photo.jpg", exif=exif, quality=92)
    return tmp_path / "photo.jpg"


@pytest.mark.parametrize("crop", ["none", "center", "pad"])
def test_every_way_is_near_the_right_one_and_all_differ(photograph: Path, crop: str) -> None:
    preprocess = Preprocess(size=(32, 32), crop=crop)  # type: ignore[arg-type]
    right = read_image(photograph, preprocess).astype(int)
    found = ways(PhotoOptions(), [photograph])
    assert len(found) == 11
    apart = {name: np.abs(way(photograph, preprocess) - right).mean() for name, way in found.items()}
    assert all(value < 60 for value in apart.values()), apart  # a lost turn gives over 60
    assert all(apart.values()), apart
    assert apart["JPEG 30"] > apart["JPEG 95"]
    assert apart["resize nearest"] > apart["resize area"]


def test_a_file_without_a_turn_is_read_before_it_is_closed(photograph: Path) -> None:
    Image.fromarray(np.full((40, 60, 3), 77, np.uint8)).save(photograph)
    for name, way in ways(PhotoOptions(), [photograph]).items():
        assert np.abs(way(photograph, Preprocess(size=(16, 16))).astype(int) - 77).max() <= 2, name


def test_a_decoder_needs_files(photograph: Path) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    assert not [name for name in ways(PhotoOptions(), [pixels]) if name.startswith("decoder")]
    way = ways(PhotoOptions(kernels=("area",), decoders=(), qualities=()), [pixels])["resize area"]
    assert way(pixels, Preprocess(size=(8, 8))).shape == (8, 8, 3)


def test_a_decoder_that_repeats_colours_differs_only_in_colour(photograph: Path) -> None:
    """Of one grey picture it changes next to nothing; of saturated edges, the pixels beside them."""
    whole = Preprocess(size=(64, 64))
    edges = np.zeros((64, 64, 3), np.uint8)
    edges[:, ::8] = edges[:, 1::8] = (255, 0, 0)
    for pixels, least, most in ((np.repeat(edges[..., :1], 3, axis=2), 0, 1), (edges, 3, 40)):
        Image.fromarray(pixels).save(photograph, quality=95, subsampling=2)
        way = ways(PhotoOptions(), [photograph])["decoder replicated"]
        apart = np.abs(way(photograph, whole).astype(int) - read_image(photograph, whole)).mean()
        assert least <= apart <= most


def test_a_photograph_in_an_archive_is_the_same_photograph(photograph: Path, tmp_path: Path) -> None:
    content = photograph.read_bytes()
    (tmp_path / "archive").write_bytes(b"before" + content + b"after")
    archived = ArchivedImage(tmp_path / "archive", 6, len(content))
    preprocess, options = Preprocess(size=(32, 32)), PhotoOptions()
    assert np.array_equal(read_archived(archived, preprocess), read_image(photograph, preprocess))
    found = ways(options, [archived])
    assert len(found) >= 4
    for name, way in found.items():
        assert np.array_equal(way(archived, preprocess), ways(options, [photograph])[name](photograph, preprocess)), (
            name
        )
