"""Warnings about a data set that users should read before they trust a score; for the log and ``--dry-run``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from compress.contracts import Data, Splits
from compress.data.relevance import answerable

_NAMED = 3


def remarks(data: Data | Splits) -> list[str]:
    """One line for each kind of problem: files left out, and what makes the scores less reliable."""
    if isinstance(data, Splits):
        train, queries, gallery = (data.train.labels, data.test.labels, (data.gallery or data.test).labels)
        alone = data.gallery is None
    else:
        train = np.concatenate([data.train.labels, data.validation.labels])
        queries, gallery, alone = data.queries.labels, data.gallery.labels, data.leave_one_out
    lines = left_out(data.skipped)
    if pairs := data.in_two_classes:
        lines.append(
            f"{_count(pairs, 'picture lies', 'pictures lie')} in two classes: {_named(map(' = '.join, pairs))}"
        )
    if untested := never_tested(data.classes, train, queries):
        lines.append(
            f"{_count(untested, 'class trains and is', 'classes train and are')} never tested: {_named(untested)}"
        )
    unanswered = int((~answerable(queries, gallery, data.ground_truths, leave_one_out=alone)).sum())
    if unanswered:
        lines.append(f"{unanswered:,} of {len(queries):,} queries have no answer; they are left out of every mean")
    return [f"data: {line}" for line in lines]


def left_out(skipped: Mapping[str, str]) -> list[str]:
    """One line for each reason, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        by_reason.setdefault(reason, []).append(name)
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        f"{_count(names, 'file or folder', 'files or folders')} left out, {reason}: {_named(names)}"
        for reason, names in ordered
    ]


def never_tested(classes: Sequence[str], train: np.ndarray, queries: np.ndarray) -> list[str]:
    """Names of the classes that have training images but no query; empty for an open set.

    Args:
        train, queries: int64 labels.
    """
    if not np.isin(queries, train).any():
        return []
    return [classes[label] for label in np.setdiff1d(train, queries)]


def _count(things: Sequence[object], one: str, many: str) -> str:
    return f"{len(things):,} {one if len(things) == 1 else many}"


def _named(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:_NAMED]) + (", …" if len(found) > _NAMED else "")
