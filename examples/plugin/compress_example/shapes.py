"""Drawn crosses, discs and squares: a data set that needs no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from compress.contracts import Dataset, Samples, Splits


@dataclass(frozen=True, kw_only=True)
class Shapes(Dataset):
    """Red crosses, green discs and blue squares of random size, place and brightness.

    Attributes:
        per_class: number of images of each class; a fifth of them are test images.
    """

    images_license: ClassVar[str | None] = "CC0-1.0"
    classes: ClassVar[tuple[str, ...]] = ("cross", "disc", "square")

    per_class: Annotated[int, Ge(10)] = 60

    def splits(self, seed: int) -> Splits:
        random = np.random.default_rng(seed)
        labels = np.arange(3 * self.per_class) % 3
        images = np.stack([_drawn(int(label), random) for label in labels])
        tested = np.arange(len(labels)) % 15 >= 12
        ids = np.array([f"{self.classes[label]}/{number}.png" for number, label in enumerate(labels)])
        train, test = (
            Samples(images[rows], labels[rows].astype(np.int64), tuple(ids[rows].tolist()))
            for rows in (~tested, tested)
        )
        return Splits(self.classes, train, test)


def _drawn(label: int, random: np.random.Generator) -> np.ndarray:
    """One image, uint8 [48, 48, 3]."""
    y, x = np.mgrid[:48, :48]
    top, left = random.integers(14, 34, 2)
    size = random.integers(6, 12)
    down, right = np.abs(y - top), np.abs(x - left)
    square = np.maximum(down, right) < size
    inside = [square & (np.minimum(down, right) < size / 3), down**2 + right**2 < size**2, square][label]
    back, front = random.integers(0, 120, 3), random.integers(60, 120, 3)
    front[label] += 130
    noise = random.integers(0, 20, (48, 48, 3))
    found: np.ndarray = np.clip(np.where(inside[..., None], front, back) + noise, 0, 255).astype(np.uint8)
    return found
