"""The held-out photographs prepared in other ways, and the golden photographs: what ``validate.photos`` asks for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compress.bundle.golden import Golden
from compress.bundle.golden_photos import write_golden_photos
from compress.contracts import Data, PhotoOptions, Preprocess
from compress.data.other_ways import ways
from compress.recipe.reader import Recipe
from compress.system.progress import say
from validators._sampling import evenly

_LOCAL_QUERIES = 20


@dataclass(frozen=True)
class Photographs:
    """The held-out photographs that are prepared in other ways; nothing is decoded before it is needed.

    Attributes:
        rows: int64 [n], their rows among the queries.
    """

    recipe: Recipe
    options: PhotoOptions
    preprocess: Preprocess
    ids: tuple[str, ...]
    rows: np.ndarray

    @functools.cached_property
    def pixels(self) -> Mapping[str, np.ndarray]:
        """Way -> uint8 [n, H, W, 3]."""
        say(f"validate: {len(self.rows)} photographs in other ways")
        test = self.recipe.data.splits(self.recipe.seed).test
        row_of = {name: row for row, name in enumerate(test.ids)}
        sources = [test.images[row_of[self.ids[row]]] for row in self.rows.tolist()]
        return {
            name: np.stack([way(source, self.preprocess) for source in sources])
            for name, way in ways(self.options, sources).items()
        }


def photographs_of(recipe: Recipe, data: Data) -> Photographs | None:
    """The photographs that the recipe asks for, or None."""
    options = recipe.validation.photos
    if options is None:
        return None
    most = min(options.queries, _LOCAL_QUERIES) if recipe.distance == "local" else options.queries
    return Photographs(recipe, options, data.preprocess, data.queries.ids, evenly(len(data.queries), most))


def with_photos(golden: Golden, folder: Path, recipe: Recipe, preprocess: Preprocess) -> Golden:
    """The golden pack with photographs, which are written into its ``folder``, if the recipe asks for them."""
    options = recipe.validation.photos
    if options is None:
        return golden
    return replace(golden, photos=write_golden_photos(folder, golden.images, preprocess, options.longest))
