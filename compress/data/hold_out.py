"""Hold out the images that choose the best weights."""

from __future__ import annotations

import numpy as np

from compress.contracts import BadInput, Dataset, Division, Splits
from compress.data.splits import class_split, stratified_split

# Set apart from the data set's own split, which starts from the seed itself.
_HOLD_OUT = 1


def divided(dataset: Dataset, splits: Splits, seed: int) -> Division:
    """Divide the images as ``load_data`` does if all of them can be decoded.

    Raises:
        BadInput: as ``hold_out``.
    """
    train, test = splits.train.labels, splits.test.labels
    labels = np.concatenate([train, test])
    rows = np.arange(len(labels))
    open_set = not np.isin(test, train).any()
    kept, validation = hold_out(dataset, labels, rows[: len(train)], rows[len(train) :], open_set, seed)
    return Division(labels[kept], labels[validation], open_set)


def hold_out(
    dataset: Dataset, labels: np.ndarray, train: np.ndarray, test: np.ndarray, open_set: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows that train and the rows that select the best weights.

    Args:
        labels: int64 [N], of all images.
        train, test: int64 rows of ``labels``.

    Raises:
        BadInput: ``validation_share`` leaves nothing to train on or nothing to choose with.
    """
    share, name = dataset.validation_share, dataset.component_name()
    if not len(train):
        return train, test
    if share == 0:
        if open_set:
            raise BadInput(
                f"data.validation_share=0: no test class of {name} is among the training classes, so the best weights "
                "are chosen by searching among training classes that were held out; set a share above 0"
            )
        return train, test
    divide, whom = (
        (class_split, "too few classes of {} have two training images")
        if open_set
        else (stratified_split, "no class of {} has enough training images to hold one out")
    )
    rest, held_out = divide(labels[train], share, seed + _HOLD_OUT)
    if not len(held_out) or not len(rest):
        raise BadInput(
            f"data.validation_share={share}: {whom.format(name)}; "
            + ("set another share" if open_set else "raise it, or set 0 to choose the best weights on the test images")
        )
    return train[rest], train[held_out]
