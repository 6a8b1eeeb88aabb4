"""The model a recipe starts with, and the names of a model and of its embedding space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.checkpoint import load_weights, read_description
from compress.contracts import Architecture, BadInput, EmbeddingSpec, Model, Preprocess
from compress.options import tuples
from compress.progress import say

if TYPE_CHECKING:
    import torch

    from compress.recipe import Recipe


def initial_model(
    recipe: Recipe, classes: tuple[str, ...], preprocess: Preprocess, *, only_tests: bool = False
) -> Model:
    """The recipe's architecture with fresh weights from its seed, or with those of its checkpoint.

    Args:
        only_tests: the data has no training images, so that the checkpoint's classes need not be its own.

    Raises:
        BadInput: the checkpoint's tensors do not fit the architecture, or its classes are not the data's and
            nothing trains a new classifier.
    """
    import torch

    from compress.pruning.shapes import restore_shapes

    torch.manual_seed(recipe.seed)
    architecture = recipe.architecture.bare() if recipe.checkpoint else recipe.architecture
    _mention_normalisation(architecture, preprocess)
    network: Any = architecture.build(len(classes))
    pruned: Mapping[str, Mapping[str, int | bool]] = {}
    space: str | None = None
    ranges: Mapping[str, tuple[float, float]] = {}
    if recipe.checkpoint is not None:
        description = read_description(recipe.checkpoint)
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
        load_weights(network, recipe.checkpoint, skip_classifier=trained_on != classes)
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


def model_sha256(model: Model) -> str:
    """sha256 over the architecture, its options, what pruning left of it, the classes, every tensor and range."""
    learned = [dict(model.ranges)] if model.ranges else []
    return _digest(model, model.network.state_dict(), model.classes, *learned)


def space_id(model: Model) -> str:
    """Names the embedding space: it changes exactly when a gallery index must be built anew.

    That is with any tensor behind the embedding, the preprocessing or the embedding's kind and distance; another
    classifier on the same embedding keeps it. A student that was taught to share its teacher's space has the teacher's.
    """
    if model.space is not None:
        return model.space
    tensors = {name: t for name, t in model.network.state_dict().items() if not name.startswith("classifier.")}
    return _digest(model, tensors, asdict(model.preprocess), asdict(model.embedding))[:16]


def _digest(model: Model, tensors: Mapping[str, torch.Tensor], *more: Any) -> str:
    name, options = model.architecture.component_name(), model.architecture.options()
    digest = hashlib.sha256(json.dumps([name, options, model.pruned, *more], sort_keys=True).encode())
    for key, tensor in sorted(tensors.items()):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return digest.hexdigest()
