"""Revisited Oxford and Paris: queries cut out by boxes, and what is Easy, Hard or junk for each.

F. Radenovic, A. Iscen, G. Tolias, Y. Avrithis, O. Chum, "Revisiting Oxford and Paris: large-scale image retrieval
benchmarking", CVPR 2018, section 2. The average precision is the trapezoid form of the Oxford code, as there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compress.contracts import BadInput, Dataset, GroundTruth, ImageSize, PublishedImage, Samples, Splits
from compress.datasets._files import not_found, stable_id
from compress.datasets._other_landmarks import other_landmarks, published
from compress.datasets._pickle import integers, numbers, read_pickle, strings

_SETTINGS = {
    "medium": (("easy", "hard"), ("junk",)),
    "easy": (("easy",), ("junk", "hard")),
    "hard": (("hard",), ("junk", "easy")),
}
"""What each counts as relevant, and as junk. Medium comes first: it is what mAP without a suffix means."""


@dataclass(frozen=True, kw_only=True)
class Revisited(Dataset):
    """The queries are cut out by their boxes, and what is relevant is listed.

    All images are decoded as the benchmark's own code does: EXIF orientation is ignored, truncated files are taken.
    Metrics come as mAP/easy, mAP/medium and mAP/hard, and mAP alone is that of Medium. Images are named by landmark in
    galleries and reports.

    Class attributes:
        pattern: of an image's name; its one group is the landmark, which is its class.

    Attributes:
        train: a folder of other landmarks to train on, CLASS/** or retrieval-SfM's ``retrieval-SfM-120k.pkl`` and
            ``ims``; null trains nothing: give a checkpoint or pretrained weights.
    """

    pattern: ClassVar[str]

    image_size: ImageSize = 224
    train: str | None = None

    def splits(self, seed: int) -> Splits:
        return _splits(self.component_name(), Path(self.root).expanduser(), self.pattern, self.train)


def _splits(dataset: str, root: Path, pattern: str, train: str | None) -> Splits:
    """Read ROOT/<dataset> or, where that is not there, ROOT: gnd_<dataset>.pkl and jpg/*.jpg.

    Args:
        pattern: of an image's name; its one group is the landmark, which is its class.
        train: a folder of training images, CLASS/**; None where there are none.

    Raises:
        BadInput: files are missing, or the ground truth is not what was published.
    """
    home = root / dataset if (root / dataset).is_dir() else root
    table = home / f"gnd_{dataset}.pkl"
    if not table.is_file() or not (home / "jpg").is_dir():
        raise not_found(
            dataset,
            [root / dataset / table.name, root / table.name],
            f"get {table.name} and the images, as jpg/*.jpg, with the code of https://github.com/filipradenovic/revisitop",
        )
    names, asked, listed = (read_pickle(table, key, "a ground truth") for key in ("imlist", "qimlist", "gnd"))
    try:
        names, asked = strings(names), strings(asked)
        truths = {
            setting: GroundTruth(*_lists(listed, len(names), *keys), form="trapezoid")
            for setting, keys in _SETTINGS.items()
        }
        boxes = [_box(entry) for entry in listed]
        if not len(asked) == len(listed) > 0:
            raise ValueError(f"{len(asked)} queries, {len(listed)} entries")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadInput(f"{table}: not the ground truth of {dataset} ({error!r}); get the file again") from error
    landmarks = [_landmark(name, pattern, table) for name in [*asked, *names]]
    others = other_landmarks(train)
    classes = tuple(sorted({*landmarks, *others.names}))
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[name] for name in landmarks], dtype=np.int64)
    queries = [home / "jpg" / f"{name}.jpg" for name in asked]
    return Splits(
        classes,
        train=others.samples(classes),
        test=Samples(
            [PublishedImage(path, box) for path, box in zip(queries, boxes, strict=True)],
            labels[: len(asked)],
            tuple(f"queries/{stable_id(path, home)}" for path in queries),
        ),
        gallery=published([home / "jpg" / f"{name}.jpg" for name in names], labels[len(asked) :], home),
        ground_truths=truths,
        skipped=others.skipped or {},
        pairs=others.pairs,
    )


def _lists(
    listed: list[Mapping[str, Any]], images: int, relevant: tuple[str, ...], junk: tuple[str, ...]
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Of each query the images under these keys, ascending; what is relevant is no junk."""

    def indices(entry: Mapping[str, Any], keys: tuple[str, ...]) -> np.ndarray:
        try:
            return np.unique(np.concatenate([integers(entry[key], images) for key in keys]))
        except ValueError as error:
            raise ValueError(f"{'/'.join(keys)} holds numbers that are none of the {images} images: {error}") from error

    answers = [indices(entry, relevant) for entry in listed]
    return tuple(answers), tuple(
        np.setdiff1d(indices(entry, junk), rows) for entry, rows in zip(listed, answers, strict=True)
    )


def _box(entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
    left, top, right, bottom = numbers(entry["bbx"]).tolist()
    return left, top, right, bottom


def _landmark(name: str, pattern: str, table: Path) -> str:
    match = re.fullmatch(pattern, name)
    if match is None or "/" in name or "\\" in name:
        raise BadInput(f"{table}: {name!r} is not named LANDMARK_NNNNNN; get the file again")
    return match[1]
