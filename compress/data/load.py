"""A data set component -> the decoded splits that stages and checks see."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import (
    BadInput,
    Data,
    Dataset,
    GroundTruth,
    ImageSet,
    Preprocess,
    Samples,
    Splits,
    TrainingPairs,
)
from compress.data.dataset_warnings import never_tested
from compress.data.decode import Decoded, ImageRows, decode_on_demand, decode_to_cache, default_cache_dir
from compress.data.hold_out import hold_out
from compress.data.relevance import need_answers
from compress.data.unlabelled import read_unlabelled


def load_data(
    dataset: Dataset,
    seed: int,
    *,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Data:
    """Find, divide and decode a data set's images.

    The test images are the queries, and the gallery at once (leave-one-out) unless the data set has one of its own.
    Images that cannot be decoded are left out and listed in ``Data.skipped``.

    Args:
        dataset: the component with its options.
        seed: decides the random splits; at least 0.
        cache_dir: where decoded images are kept; default ``decode.default_cache_dir()``.
        workers: threads that decode; default one per available core.
        progress: report long decoding on standard error.

    Raises:
        BadInput: the data set is missing, malformed, empty, no query has an answer, or more than
            ``max_skipped_share`` of it cannot be decoded.
    """
    splits = dataset.splits(seed)
    preprocess = Preprocess(size=dataset.size, crop=dataset.crop, mean=dataset.mean, std=dataset.std)
    joined = _join(splits)
    decoded = _decode(dataset, joined, preprocess, cache_dir or default_cache_dir(), workers or cores(), progress)
    name = dataset.component_name()
    skipped = _check_skipped({joined.ids[row]: reason for row, reason in decoded.skipped.items()}, dataset, len(joined))

    row_of = {image_id: row for row, image_id in enumerate(joined.ids)}
    train = _rows(splits.train, row_of, skipped)
    test = _rows(splits.test, row_of, skipped)
    gallery = test if splits.gallery is None else _rows(splits.gallery, row_of, skipped)
    if (len(splits.train) and not len(train)) or not len(test) or not len(gallery):
        raise BadInput(
            f"data.root={dataset.root}: {name} has {len(train)} training and {len(test)} test images left"
            + (f", {len(gallery)} in the gallery" if splits.gallery is not None else "")
        )
    if lost := sorted(set(splits.train.labels.tolist()) - set(joined.labels[train].tolist())):
        raise BadInput(
            f"data.root={dataset.root}: no training image of class {splits.classes[lost[0]]} can be decoded "
            f"({next(iter(skipped.items()))[0]}, …); replace them or remove the class"
        )
    open_set = not np.isin(joined.labels[test], joined.labels[train]).any()
    truths = _decodable(splits, skipped)
    searched = None if gallery is test else joined.labels[gallery]
    need_answers(dataset, joined.labels[train], joined.labels[test], searched, truths)
    train, validation = hold_out(dataset, joined.labels, train, test, open_set, seed)
    pairs = _pairs(splits, row_of, train, len(joined))
    held_out = {decoded.digests[row].tobytes() for row in (*validation, *test, *gallery)}
    found = read_unlabelled(dataset, held_out, cache_dir or default_cache_dir(), workers or cores(), progress=progress)

    def image_set(rows: np.ndarray) -> ImageSet:
        return ImageSet(ImageRows(decoded.images, rows), joined.labels[rows], tuple(joined.ids[row] for row in rows))

    queries = image_set(test)
    parts = (train, validation, test) if gallery is test else (train, validation, test, gallery)
    return Data(
        dataset=name,
        classes=splits.classes,
        train=image_set(train),
        validation=queries if validation is test else image_set(validation),
        queries=queries,
        gallery=queries if gallery is test else image_set(gallery),
        preprocess=preprocess,
        duplicates=splits.duplicates,
        skipped={**splits.skipped, **skipped, **found.skipped},
        in_two_classes=splits.in_two_classes,
        fingerprint=_fingerprint(
            decoded.digests, joined.labels, parts, splits.classes, preprocess, truths, pairs, found.digests
        ),
        open_set=open_set,
        ground_truths=truths,
        pairs=pairs,
        unlabelled=found.images,
    )


def _pairs(splits: Splits, row_of: dict[str, int], train: np.ndarray, count: int) -> TrainingPairs | None:
    """The pairs among the rows ``train``, as indices into them.

    Raises:
        BadInput: the data set lists pairs, and none of them is left.
    """
    if splits.pairs is None:
        return None
    places = np.full(count, -1, dtype=np.int64)
    places[train] = np.arange(len(train))
    rows = np.array([row_of[image_id] for image_id in splits.train.ids], dtype=np.int64)
    found = splits.pairs.moved(places[rows])
    if not len(found):
        raise BadInput("data.train: no pair of training images is left; lower data.validation_share, or add images")
    return found


def _decodable(splits: Splits, skipped: dict[str, str]) -> dict[str, GroundTruth]:
    """The ground truths without skipped images; a query's own image in the gallery is junk."""
    if not splits.ground_truths:
        return {}
    assert splits.gallery is not None
    queries, gallery = (
        np.array([row for row, name in enumerate(part.ids) if name not in skipped], dtype=np.int64)
        for part in (splits.test, splits.gallery)
    )
    place = {splits.gallery.ids[row]: number for number, row in enumerate(gallery)}
    own = [np.array([place[name]] if name in place else [], dtype=np.int64) for name in splits.test.ids]
    found = {}
    for setting, truth in splits.ground_truths.items():
        kept = truth.among(queries, gallery)
        itself = [own[row] for row in queries]
        found[setting] = GroundTruth(
            tuple(np.setdiff1d(*pair) for pair in zip(kept.relevant, itself, strict=True)),
            tuple(np.union1d(*pair) for pair in zip(kept.junk, itself, strict=True)),
            kept.form,
        )
    return found


def describe(data: Data) -> dict[str, Any]:
    """The ``data`` section of bundle.json. ``images`` counts every image once, without those skipped."""
    sets = {"train": data.train, "validation": data.validation, "test": data.queries}
    if not data.leave_one_out:
        sets["gallery"] = data.gallery
    if data.unlabelled is not None:
        sets["unlabelled"] = data.unlabelled
    trained = np.concatenate([data.train.labels, data.validation.labels])
    return {
        "dataset": data.dataset,
        "images": len({image_id for images in sets.values() for image_id in images.ids}),
        "classes": len(data.classes),
        "duplicates": data.duplicates,
        "skipped": dict(data.skipped),
        "in_two_classes": [list(pair) for pair in data.in_two_classes],
        "never_tested": never_tested(data.classes, trained, data.queries.labels),
        "splits": {name: len(images) for name, images in sets.items()},
    }


def _join(splits: Splits) -> Samples:
    """Every image once; files in an order that does not depend on the seed, so that another seed reuses the cache."""
    parts = [splits.train, splits.test]
    _check_unique(splits.train.ids + splits.test.ids)
    if splits.gallery is not None:
        _check_unique(splits.gallery.ids)
        both = set(splits.gallery.ids) & set(splits.test.ids)
        if both and not splits.ground_truths:
            raise BadInput(f"data.root: {min(both)} is a query and in the gallery, where it would only find itself")
        parts.append(splits.gallery)
    ids = [name for part in parts for name in part.ids]
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        first.setdefault(name, row)
    rows = list(first.values())
    labels = np.concatenate([part.labels for part in parts])
    if isinstance(splits.train.images, np.ndarray):
        images: Any = np.concatenate([np.asarray(part.images) for part in parts])
        if len(rows) < len(ids):
            images = images[rows]
    else:
        files = [file for part in parts for file in part.images]
        rows.sort(key=ids.__getitem__)
        images = [files[row] for row in rows]
    return Samples(images, labels[rows], tuple(ids[row] for row in rows))


def _check_unique(ids: tuple[str, ...]) -> None:
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise BadInput(f"data.root: two files are called {twice} once Unicode is normalised; rename one")


def _decode(
    dataset: Dataset, samples: Samples, preprocess: Preprocess, cache_dir: Path, workers: int, progress: bool
) -> Decoded:
    images = samples.images
    if isinstance(images, np.ndarray) and images.shape[1:3] == preprocess.size:
        rgb = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
        digests = b"".join(hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in rgb)
        return Decoded(rgb, np.frombuffer(digests, np.uint8).reshape(-1, 32), {})
    if dataset.cache == "none":
        return decode_on_demand(images, preprocess, workers=workers, progress=progress)
    return decode_to_cache(images, samples.ids, preprocess, cache_dir, workers=workers, progress=progress)


def _rows(samples: Samples, row_of: dict[str, int], skipped: dict[str, str]) -> np.ndarray:
    return np.array([row_of[image_id] for image_id in samples.ids if image_id not in skipped], dtype=np.int64)


def _check_skipped(skipped: dict[str, str], dataset: Dataset, images: int) -> dict[str, str]:
    # Rounded up, so that one bad file does not stop a small folder, but 0 tolerates none.
    if len(skipped) > ceil(dataset.max_skipped_share * images):
        first = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
        raise BadInput(
            f"data.root={dataset.root}: {len(skipped)} of {images} images cannot be decoded, more than "
            f"data.max_skipped_share={dataset.max_skipped_share} allows ({first}{'; …' if len(skipped) > 3 else ''})"
        )
    return skipped


def _fingerprint(
    digests: np.ndarray,
    labels: np.ndarray,
    splits: Sequence[np.ndarray],
    classes: tuple[str, ...],
    preprocess: Preprocess,
    truths: dict[str, GroundTruth],
    pairs: TrainingPairs | None,
    unlabelled: np.ndarray,
) -> str:
    header = {
        "preprocess": dataclasses.asdict(preprocess),
        "classes": classes,
        "sizes": [len(rows) for rows in splits],
    }
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for rows in splits:
        sha.update(labels[rows].astype("<i8").tobytes())
        sha.update(digests[rows].tobytes())
    for setting, truth in truths.items():
        lists = [[rows.tolist() for rows in part] for part in (truth.relevant, truth.junk)]
        sha.update(json.dumps([setting, truth.form, *lists]).encode())
    if pairs is not None:
        sha.update(b"pairs" + pairs.queries.astype("<i8").tobytes() + pairs.positives.astype("<i8").tobytes())
    if len(unlabelled):
        sha.update(b"unlabelled" + unlabelled.tobytes())
    return sha.hexdigest()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
