"""The Oxford and Paris buildings as retrieval benchmarks: queries cut out by boxes, and good, ok and junk lists.

J. Philbin et al., CVPR 2007 (Oxford) and CVPR 2008 (Paris). Each set has 55 queries, five of each of 11 landmarks.
Good and ok images are relevant, junk leaves the ranking first, and the average precision is the trapezoid form of the
authors' compute_ap. A query's own photograph stays in the gallery; if the lists have it, it counts, as it does there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from compress.contracts import BadInput, Dataset, GroundTruth, ImageSize, PublishedImage, Samples, Splits
from compress.datasets._files import not_found
from compress.datasets._listing import find_files, find_images
from compress.datasets._other_landmarks import other_landmarks, published
from compress.system.bounded_reading import read_text

_QUERY = "_query.txt"
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class _Query:
    """One query of the ground truth.

    Attributes:
        name: such as ``all_souls_1``.
        image: name of the photograph.
        box: left, top, right, bottom in pixels.
        listed: ``good``, ``ok``, ``junk`` -> names of images.
    """

    name: str
    image: str
    box: tuple[float, float, float, float]
    listed: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Classic(Dataset):
    """The queries are cut out by their boxes, and what is relevant is listed.

    All images are decoded as for ``roxford5k``: EXIF orientation is ignored, truncated files are taken.

    Class attributes:
        pattern: of an image's name; its one group is the landmark, which is its class.
        prefix: before the names of images in query files.
        remedy: how to get the data set.

    Attributes:
        train: a folder of other landmarks to train on, CLASS/** or retrieval-SfM's ``retrieval-SfM-120k.pkl`` and
            ``ims``; null trains nothing: give a checkpoint or pretrained weights.
    """

    pattern: ClassVar[str]
    prefix: ClassVar[str] = ""
    remedy: ClassVar[str]

    image_size: ImageSize = 224
    train: str | None = None

    def splits(self, seed: int) -> Splits:
        root, name = Path(self.root).expanduser(), self.component_name()
        home = root / name if (root / name).is_dir() else root
        queries = [path for path in find_files(home) if path.name.endswith(_QUERY)] if home.is_dir() else []
        if not queries:
            raise not_found(name, [root / name, root], self.remedy)
        asked = [_query(path, self.prefix) for path in queries]
        listing = find_images(home)
        files = {path.stem: path for path in listing.images}
        if len(files) < len(listing.images):
            twice = next(path for path in listing.images if files[path.stem] != path)
            raise BadInput(f"data.root: {twice} and {files[twice.stem]} have the same name; remove one")
        place = {stem: number for number, stem in enumerate(files)}
        for path, query in zip(queries, asked, strict=True):
            if lost := {query.image, *(image for part in query.listed.values() for image in part)} - place.keys():
                raise BadInput(
                    f"{path}: {len(lost)} of its images are not below {home}, such as {min(lost)}; {self.remedy}"
                )
        landmarks = [_landmark(path, self.pattern, name) for path in listing.images]
        others = other_landmarks(self.train)
        classes = tuple(sorted({*landmarks, *others.names}))
        number = {each: label for label, each in enumerate(classes)}
        labels = np.array([number[each] for each in landmarks], dtype=np.int64)
        return Splits(
            classes,
            train=others.samples(classes),
            test=Samples(
                [PublishedImage(files[query.image], query.box) for query in asked],
                labels[[place[query.image] for query in asked]],
                tuple(f"queries/{query.name}" for query in asked),
            ),
            gallery=published(listing.images, labels, home),
            ground_truths={"classic": _truth(asked, place)},
            skipped=others.skipped or {},
            pairs=others.pairs,
        )


def _truth(asked: list[_Query], place: dict[str, int]) -> GroundTruth:
    def rows(query: _Query, *parts: str) -> np.ndarray:
        return np.unique(np.array([place[name] for part in parts for name in query.listed[part]], dtype=np.int64))

    relevant = tuple(rows(query, "good", "ok") for query in asked)
    junk = tuple(np.setdiff1d(rows(query, "junk"), own) for query, own in zip(asked, relevant, strict=True))
    return GroundTruth(relevant, junk, form="trapezoid")


def _query(path: Path, prefix: str) -> _Query:
    """Read NAME_query.txt and the three lists beside it."""
    name = path.name.removesuffix(_QUERY)
    words = read_text(path, _MOST_BYTES).split()
    try:
        image, left, top, right, bottom = words
        box = float(left), float(top), float(right), float(bottom)
        if not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError("an empty box")
    except ValueError as error:
        raise BadInput(f"{path}: is not 'IMAGE LEFT TOP RIGHT BOTTOM' ({error}); get the ground truth again") from error
    listed = {}
    for part in ("good", "ok", "junk"):
        beside = path.with_name(f"{name}_{part}.txt")
        if not beside.is_file():
            raise BadInput(f"{beside}: is missing beside {path.name}; get the ground truth again")
        listed[part] = tuple(read_text(beside, _MOST_BYTES).split())
    return _Query(name, image.removeprefix(prefix), box, listed)


def _landmark(path: Path, pattern: str, dataset: str) -> str:
    match = re.fullmatch(pattern, path.stem)
    if match is None:
        raise BadInput(f"data.root: {path.absolute()} is not named LANDMARK_NNNNNN; is this {dataset}? remove it")
    return match[1]
