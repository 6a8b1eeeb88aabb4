"""The model a recipe starts with: fresh weights from its seed, or those of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np

from compress.contracts import Architecture, BadInput, Distance, EmbeddingSpec, Model, Preprocess
from compress.model.checkpoint import checkpoint_file, load_weights, read_description
from compress.options import tuples
from compress.system.progress import say


class Origin(Protocol):
    """What a recipe says about the model it starts with."""

    @property
    def architecture(self) -> Architecture: ...
    @property
    def checkpoint(self) -> Path | None: ...
    @property
    def distance(self) -> Distance: ...
    @property
    def seed(self) -> int: ...
    @property
    def stages(self) -> Sequence[object]: ...


def initial_model(
    recipe: Origin, classes: tuple[str, ...], preprocess: Preprocess, *, only_tests: bool = False
) -> Model:
    """Build the recipe's architecture with fresh weights from its seed, or with those of its checkpoint.

    Args:
        only_tests: the data has no training images, so the checkpoint may have other classes than the data.

    Raises:
        BadInput: the network is too large, the checkpoint's tensors do not fit the architecture, or its classes are not
            the data's and nothing trains a new classifier.
    """
    import torch

    from architectures._limits import require_sane_size
    from compress.pruning.shapes import restore_shapes

    require_sane_size(recipe.architecture, len(classes), preprocess.size)
    torch.manual_seed(recipe.seed)
    architecture = recipe.architecture.bare() if recipe.checkpoint else recipe.architecture
    _mention_normalisation(architecture, preprocess)
    network = architecture.build(len(classes))
    pruned: Mapping[str, Mapping[str, int | bool]] = {}
    space: str | None = None
    ranges: Mapping[str, tuple[float, float]] = {}
    if recipe.checkpoint is not None:
        file = checkpoint_file(recipe.checkpoint)
        description = read_description(file)
        trained_on, pruned = tuple(description["classes"]), description.get("pruned", {})
        if tuples(description["preprocess"]) == asdict(preprocess):
            ranges = tuples(description.get("ranges", {}))
            if description["embedding"]["distance"] == recipe.distance:
                space = description.get("space")
        restore_shapes(network, pruned)
        if trained_on != classes and not recipe.stages and not only_tests:
            raise BadInput(
                f"model.checkpoint: {recipe.checkpoint} was trained on {len(trained_on)} other classes than the data's "
                f"{len(classes)}; add a 'train' section to fit a classifier, or name the data set it was trained on"
            )
        load_weights(network, file, skip_classifier=trained_on != classes)
    return Model(
        architecture=recipe.architecture,
        network=network,
        classes=classes,
        preprocess=preprocess,
        embedding=EmbeddingSpec.of(network.embedding_dim, recipe.distance),
        pruned=pruned,
        space=space,
        ranges=ranges,
    )


def _mention_normalisation(architecture: Architecture, preprocess: Preprocess) -> None:
    expected = architecture.normalisation()
    if expected is not None and not np.allclose(expected, (preprocess.mean, preprocess.std), atol=0.005):
        mean, std = ([round(value, 3) for value in values] for values in expected)
        say(f"model: its pretrained weights expect data.mean: {mean} and data.std: {std}, the recipe has others")
