"""Search times of feature fusion with and without LSH: ``OMP_NUM_THREADS=1 python -m benchmarks.fusion_times RECIPE``.

The second table of the feature-fusion paper, on a recipe's photographs: its network, with the weights it starts from,
embeds all of them; each of 200 is then searched in the others, by one product in NumPy and by LSH. Times are the median
of this thread's processor time for one query, and leave embedding out. ``--set`` changes the recipe.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.indexes import timed
from compress.contracts import BadInput, Distance, Index
from compress.data.load import load_data
from compress.gallery.recall import K, exhaustive, recall
from compress.model.reference import embed
from compress.model.start import initial_model
from compress.recipe.reader import load_recipe

QUERIES = 200


def rows(features: np.ndarray, distance: Distance, index: Index, folder: Path) -> Iterator[str]:
    """The table, line by line as it is measured.

    Args:
        features: float32 [N, D], the photographs' embeddings.
    """
    own = np.unique(np.linspace(0, len(features) - 1, min(QUERIES, len(features))).astype(np.int64))
    queries = features[own]
    yield f"{len(features):,} photographs, {features.shape[1]:,} values, {len(own)} queries"
    yield "| search | recall@10 | ms a query | speed-up |"
    yield "|---|---|---|---|"
    search = exhaustive(features, distance)
    _, alone = timed(lambda query: search(query, K), queries)
    yield f"| every photograph | 1.000 | {alone:.3f} | 1.0 |"
    path = folder / index.file
    index.build(path, features, distance, seed=0)
    opened = index.open(path, features, distance)
    found, spent = timed(lambda query: opened.search(query[None], K + 1)[1][0], queries)
    share = recall(features, queries, found, own, distance)
    yield f"| {index.component_name()} | {share:.3f} | {spent:.3f} | {alone / spent:.1f} |"


def main(path: Path, overrides: list[str]) -> None:
    recipe = load_recipe(path, overrides)
    if recipe.gallery.index is None:
        raise BadInput("gallery.index: the recipe names no index; add --set gallery.index=lsh")
    data = load_data(recipe.data, recipe.seed, progress=True)
    model = initial_model(recipe, data.classes, data.preprocess)
    parts = [data.train, data.validation, data.queries]
    features = np.concatenate([embed(model, part.images) for part in parts])
    with tempfile.TemporaryDirectory() as folder:
        for line in rows(features, model.embedding.distance, recipe.gallery.index, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    main(arguments.recipe, arguments.set)
