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

from compress.contracts import BadInput, Data, Dataset, ImageSet, Preprocess, Samples
from compress.decode import Decoded, ImageRows, decode_on_demand, decode_to_cache, default_cache_dir
from compress.splits import stratified_split

# Set apart from the data set's own split, which starts from the seed itself.
_HOLD_OUT = 1


def load_data(
    dataset: Dataset,
    seed: int,
    *,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Data:
    """Find, divide and decode a data set's images.

    The test images are queries and gallery at once (leave-one-out). Images that cannot be decoded are left out and
    listed in ``Data.skipped``.

    Args:
        dataset: the component with its options.
        seed: decides the random splits; at least 0.
        cache_dir: where decoded images are kept; default ``$COMPRESS_CACHE``, else ``~/.cache/compress``.
        workers: threads that decode; default one per available core.
        progress: report long decoding on standard error.

    Raises:
        BadInput: the data set is missing, malformed, empty, or more than ``max_skipped_share`` of it cannot be
            decoded.
    """
    splits = dataset.splits(seed)
    preprocess = Preprocess(
        size=(dataset.image_size, dataset.image_size), crop=dataset.crop, mean=dataset.mean, std=dataset.std
    )
    joined = _join(splits.train, splits.test)
    decoded = _decode(dataset, joined, preprocess, cache_dir or default_cache_dir(), workers or _cores(), progress)
    name = dataset.component_name()
    skipped = _check_skipped({joined.ids[row]: reason for row, reason in decoded.skipped.items()}, dataset, len(joined))

    row_of = {image_id: row for row, image_id in enumerate(joined.ids)}
    train = _rows(splits.train, row_of, skipped)
    test = _rows(splits.test, row_of, skipped)
    if not len(train) or not len(test):
        raise BadInput(f"data.root={dataset.root}: {name} has {len(train)} training and {len(test)} test images left")
    if lost := sorted(set(splits.train.labels.tolist()) - set(joined.labels[train].tolist())):
        raise BadInput(
            f"data.root={dataset.root}: no training image of class {splits.classes[lost[0]]} can be decoded "
            f"({next(iter(skipped.items()))[0]}, …); replace them or remove the class"
        )
    validation = test
    if dataset.validation_share > 0:
        rest, held_out = stratified_split(joined.labels[train], dataset.validation_share, seed + _HOLD_OUT)
        if not len(held_out):
            raise BadInput(
                f"data.validation_share={dataset.validation_share}: no class of {name} has enough training images to "
                "hold one out; raise it, or set 0 to choose the best weights on the test images"
            )
        train, validation = train[rest], train[held_out]

    def image_set(rows: np.ndarray) -> ImageSet:
        return ImageSet(ImageRows(decoded.images, rows), joined.labels[rows], tuple(joined.ids[row] for row in rows))

    queries = image_set(test)
    return Data(
        dataset=name,
        classes=splits.classes,
        train=image_set(train),
        validation=queries if validation is test else image_set(validation),
        queries=queries,
        gallery=queries,
        preprocess=preprocess,
        duplicates=splits.duplicates,
        skipped=skipped,
        fingerprint=_fingerprint(decoded.digests, joined.labels, (train, validation, test), splits.classes, preprocess),
    )


def describe(data: Data) -> dict[str, Any]:
    """The ``data`` section of bundle.json. ``images`` counts every image once, skipped ones not."""
    test, validation = len(data.queries), len(data.validation)
    shared = data.validation is data.queries
    return {
        "dataset": data.dataset,
        "images": len(data.train) + test + (0 if shared else validation),
        "classes": len(data.classes),
        "duplicates": data.duplicates,
        "skipped": dict(data.skipped),
        "splits": {"train": len(data.train), "validation": validation, "test": test},
    }


def _join(train: Samples, test: Samples) -> Samples:
    """Both splits; files in an order that does not depend on the seed, so that another seed reuses the cache."""
    ids = train.ids + test.ids
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise BadInput(f"data.root: two files are called {twice} once Unicode is normalised; rename one")
    labels = np.concatenate([train.labels, test.labels])
    if isinstance(train.images, np.ndarray):
        return Samples(np.concatenate([train.images, np.asarray(test.images)]), labels, ids)
    files = [*train.images, *test.images]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return Samples([files[row] for row in order], labels[order], tuple(ids[row] for row in order))


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
    return sha.hexdigest()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
