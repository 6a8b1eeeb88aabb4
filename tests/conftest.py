"""Small data sets of real images: handwritten digits, tinted so that a swap of colours would show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.datasets.digits import Digits


@pytest.fixture(scope="session")
def digit_images() -> np.ndarray:
    """uint8 [10, 500, 28, 28], the first axis being the digit."""
    splits = Digits(test_share=0.01).splits(seed=0)
    images = np.concatenate([splits.train.images, splits.test.images])  # type: ignore[arg-type]
    labels = np.concatenate([splits.train.labels, splits.test.labels])
    return np.stack([images[labels == digit] for digit in range(10)])


@pytest.fixture(scope="session")
def photo(digit_images: np.ndarray) -> Callable[..., Image.Image]:
    """photo(class number, picture number) -> RGB 64x48, the tint being the class's."""

    def make(label: int, number: int) -> Image.Image:
        grey = Image.fromarray(digit_images[label % 10, number]).resize((64, 48))
        tint = np.array([(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 40)][label % 4])
        return Image.fromarray((np.asarray(grey)[..., None] / 255 * tint).astype(np.uint8))

    return make


@pytest.fixture(scope="session")
def save_photos(photo: Callable[..., Image.Image]) -> Callable[..., list[Path]]:
    """save_photos(folder, class number, count, first=0, name="{:06d}.jpg") writes different pictures of a class."""

    def save(folder: Path, label: int, count: int, first: int = 0, name: str = "{:06d}.jpg") -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name.format(number) for number in range(first, first + count)]
        for number, path in enumerate(paths, start=first):
            photo(label, number).save(path, quality=95) if path.suffix == ".jpg" else photo(label, number).save(path)
        return paths

    return save
