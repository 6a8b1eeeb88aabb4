"""Which queries have something to find, and what to do where none has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import ceil

import numpy as np

from compress.contracts import BadInput, Dataset, GroundTruth


def answerable(
    queries: np.ndarray,
    gallery: np.ndarray,
    truths: Mapping[str, GroundTruth] | None = None,
    *,
    leave_one_out: bool = False,
) -> np.ndarray:
    """Which queries have something to find, bool [Q]; by the first ground truth where there is one.

    Args:
        queries, gallery: int64 labels.
    """
    if truths:
        return np.array([len(rows) > 0 for rows in next(iter(truths.values())).relevant], dtype=bool)
    labels, counts = np.unique(gallery, return_counts=True)
    return np.isin(queries, labels[counts > leave_one_out])


def need_answers(
    dataset: Dataset,
    train: np.ndarray,
    queries: np.ndarray,
    gallery: np.ndarray | None,
    truths: Mapping[str, GroundTruth],
) -> None:
    """Refuse a data set with which retrieval cannot be measured: without one answer no mAP is a number.

    Args:
        train, queries, gallery: int64 labels; no gallery means that each query searches all others.

    Raises:
        BadInput: no query has an answer.
    """
    if answerable(queries, queries if gallery is None else gallery, truths, leave_one_out=gallery is None).any():
        return
    name = dataset.component_name()
    if gallery is not None:
        raise BadInput(
            f"data.root={dataset.root}: none of the {len(queries)} queries of {name} has an answer in its gallery"
        )
    share = share_for_two(np.concatenate([train, queries]))
    raisable = share is not None and "test_share" in {field.name for field in fields(dataset)}
    remedy = f"set data.test_share to {share} or more, or add" if raisable else "add"
    raise BadInput(
        f"data.root={dataset.root}: no test image of {name} has another one of its class to find; {remedy} images"
    )


def share_for_two(labels: np.ndarray) -> float | None:
    """The share, in hundredths, that ``stratified_split`` needs to hold out two images of the largest class.

    None where no class would keep one. ``labels`` are int64.
    """
    largest = int(np.unique(labels, return_counts=True)[1].max(initial=0))
    return ceil(150 / largest) / 100 if largest > 2 else None
