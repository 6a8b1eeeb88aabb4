"""Golden photographs: every turn and kind of colour gives the stored pixels, and a wrong way to read them is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.bundle import golden_photos
from compress.bundle.golden_photos import (
    GoldenPhotos,
    described,
    photo_problems,
    read_golden_photos,
    remove_golden_photos,
    write_golden_photos,
)
from compress.contracts import Preprocess
from compress.data.images import preprocess_image

SIZE = Preprocess(size=(32, 32))


@pytest.fixture(scope="module")
def images(photo: Callable[..., Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(photo(number, number).resize((32, 32))) for number in range(12)])


@pytest.fixture
def photos(images: np.ndarray, tmp_path: Path) -> GoldenPhotos:
    return write_golden_photos(tmp_path, images, SIZE, 400)


def test_every_turn_shows_the_same_picture_upright(images: np.ndarray, photos: GoldenPhotos, tmp_path: Path) -> None:
    assert len(photos.files) == 11
    for number, file in enumerate(photos.files[:8]):
        shown = np.asarray(Image.fromarray(images[number]).resize((100, 75), Image.Resampling.BICUBIC).resize((32, 32)))
        assert np.abs(photos.pixels[number].astype(int) - shown).mean() < 12, file
    seen = []
    for file in photos.files:
        with Image.open(tmp_path / file) as image:
            seen.append((image.mode, image.size, image.getexif().get(0x0112)))
    assert seen[0] == ("RGB", (400, 300), 1)
    assert [orientation for _, _, orientation in seen[:8]] == list(range(1, 9))
    assert [mode for mode, _, _ in seen[8:]] == ["CMYK", "L", "RGBA"]
    assert (photos.pixels[-1][0] == 255).all()  # transparent: white


def test_they_are_read_back_and_removed(photos: GoldenPhotos, tmp_path: Path) -> None:
    found = read_golden_photos(tmp_path, json.loads(json.dumps(described(photos))))
    assert (found.files, found.what) == (photos.files, photos.what)
    assert np.array_equal(found.pixels, photos.pixels)
    assert photo_problems(tmp_path, found, SIZE) == []
    remove_golden_photos(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mistake", "seen"),
    [
        ("no turn", [f"turned-{number}" for number in range(2, 9)]),
        ("nearest", None),
        ("other channels", None),
        ("half a pixel", None),
    ],
)
def test_another_way_to_read_them_is_seen(
    photos: GoldenPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, seen: list[str] | None
) -> None:
    def wrong(file: Path, preprocess: Preprocess, **_: object) -> np.ndarray:
        with Image.open(file) as image:
            if mistake == "no turn":
                image.getexif().clear()
                stripped = Image.new(image.mode, image.size)
                stripped.paste(image)
                return preprocess_image(stripped, preprocess)
            right = preprocess_image(image, preprocess)
            if mistake == "other channels":
                return right[..., ::-1]
            if mistake == "half a pixel":
                return np.roll(right, 1, axis=1)
            return np.asarray(image.convert("RGB").resize(preprocess.size, Image.Resampling.NEAREST))

    monkeypatch.setattr(golden_photos, "read_image", wrong)
    problems = photo_problems(tmp_path, photos, SIZE)
    if seen is not None:
        assert [line.partition(".")[0].removeprefix("golden/photos/") for line in problems] == seen
    else:
        assert len(problems) >= 9
    assert all("levels away from golden/photos.u8" in line for line in problems)


def test_rounding_of_a_level_is_accepted_and_another_size_is_not(photos: GoldenPhotos, tmp_path: Path) -> None:
    nearly = replace(photos, pixels=np.where(photos.pixels < 255, photos.pixels + 1, 254).astype(np.uint8))
    assert photo_problems(tmp_path, nearly, SIZE) == []
    assert len(photo_problems(tmp_path, photos, Preprocess(size=(16, 32)))) == 11


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [11, 32, 32]},
        {"shape": [-11, 32, 32, 3]},
        {"shape": [1 << 20, 1 << 20, 32, 3]},
        {"shape": [12, 32, 32, 3]},
        {"images": []},
        {"images": [{"file": "../../outside", "what": ""}] * 11},
        {"images": [{}] * 11},
    ],
)
def test_damaged_descriptions_are_refused(photos: GoldenPhotos, tmp_path: Path, change: dict) -> None:
    from compress.contracts import BadInput

    with pytest.raises((BadInput, LookupError, OSError, TypeError, ValueError)):
        read_golden_photos(tmp_path, {**described(photos), **change})
