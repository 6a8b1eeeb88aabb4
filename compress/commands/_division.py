"""Choose how photographs are divided, so that searches have answers and enough photographs are left to train on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.commands._photographs import Photographs
from compress.contracts import BadInput
from compress.data.hold_out import hold_out
from compress.data.relevance import answerable
from compress.data.splits import stratified_split
from compress.datasets.image_folder import ImageFolder

_TEST_SHARES = (0.2, 0.25, 0.3, 0.4, 0.5)
_VALIDATION_SHARES = (0.1, 0.15, 0.2)
_ENOUGH = 0.9


@dataclass(frozen=True)
class Share:
    """``data.test_share`` and ``data.validation_share``, and what they give.

    Attributes:
        test: None if the folder has test photographs of its own.
        validation: 0 if no class can spare a photograph.
        trained, validated, queries: number of photographs that train, choose the best weights and are searched with.
        answered: number of the queries that have another photograph of their class to find.
        tested: number of classes that have such queries.
        ranks: whether two validation photographs of nearly every class can find each other, so that a loss that ranks
            can choose the best weights.
    """

    test: float | None
    validation: float
    trained: int
    validated: int
    queries: int
    answered: int
    tested: int
    ranks: bool


def choose(found: Photographs, seed: int) -> Share:
    """The smallest shares with which nearly every class is tested and nearly every class chooses the weights.

    Raises:
        BadInput: no query could have an answer.
    """
    if found.own_test is not None:
        return _validated(found, None, np.flatnonzero(~found.own_test), np.flatnonzero(found.own_test), seed)
    tried = []
    for share in _TEST_SHARES:
        train, test = stratified_split(found.labels, share, seed)
        tried.append((_tested(found, test), share, train, test))
    wanted = _ENOUGH * max(tested for tested, *_ in tried)
    _, share, train, test = next(each for each in tried if each[0] >= wanted)
    return _validated(found, share, train, test, seed)


def _tested(found: Photographs, test: np.ndarray) -> int:
    """The number of classes of which two test photographs can find each other."""
    return _covered(found.labels[test[found.usable[test]]], 2)


def _covered(labels: np.ndarray, least: int) -> int:
    """The number of classes that have at least this many of the labels."""
    return int((np.bincount(labels) >= least).sum())


def _validated(found: Photographs, share: float | None, train: np.ndarray, test: np.ndarray, seed: int) -> Share:
    train, test = train[found.usable[train]], test[found.usable[test]]
    queries = found.labels[test]
    answered = int(answerable(queries, queries, leave_one_out=True).sum())
    if not answered:
        remedy = (
            "add photographs to it" if share is None else "add photographs: a class needs three, one of them trains"
        )
        raise BadInput(f"{found.root}: no test photograph has another one of its class to find; {remedy}")
    if lost := sorted(set(queries.tolist()) - set(found.labels[train].tolist())):
        raise BadInput(
            f"{found.root}: class {found.splits.classes[lost[0]]} has test photographs but none to train on; add some"
        )
    validation, kept, held_out = _held_out(found, train, seed)
    ranks = _covered(found.labels[held_out], 2) >= _ENOUGH * _covered(found.labels[train], 1)
    return Share(share, validation, len(kept), len(held_out), len(test), answered, _tested(found, test), ranks)


def _held_out(found: Photographs, train: np.ndarray, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The validation share, and the rows that train and that choose the weights.

    The smallest share that gives two photographs of nearly every class, otherwise the smallest that gives one of nearly
    every class, or of any; 0 if no class can spare one.
    """
    wanted = _ENOUGH * _covered(found.labels[train], 1)
    possible = []
    for share in _VALIDATION_SHARES:
        try:
            dataset = ImageFolder(validation_share=share)
            kept, held_out = hold_out(dataset, found.labels, train, train[:0], False, seed)
        except BadInput:  # no class is large enough for this share
            continue
        possible.append((share, kept, held_out))
    for least in (2, 1, 0):
        for share, kept, held_out in possible:
            if _covered(found.labels[held_out], least) >= wanted or least == 0:
                return share, kept, held_out
    return 0.0, train, train[:0]
