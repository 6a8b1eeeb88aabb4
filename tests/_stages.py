"""What tests of stages share: options as a recipe gives them, and data so small that a training takes seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from compress.contracts import Data, ImageSet, Stage
from compress.data.load import load_data
from compress.datasets.digits import Digits
from compress.options import build

S = TypeVar("S", bound=Stage)


def with_options(stage: type[S], **options: Any) -> S:
    return build(stage, options, stage.component_name())


def few_digits() -> Data:
    """400 digits to train on, 100 to validate, 200 to search, all evenly spaced in their split."""
    whole = load_data(Digits(), seed=0)

    def few(images: ImageSet, count: int) -> ImageSet:
        chosen = np.arange(count) * (len(images) // count)
        return ImageSet(images.images[chosen], images.labels[chosen], tuple(images.ids[i] for i in chosen))

    queries = few(whole.queries, 200)
    return replace(
        whole, train=few(whole.train, 400), validation=few(whole.validation, 100), queries=queries, gallery=queries
    )
