"""Linear discriminant analysis of an embedding, in closed form (Fisher 1936; Rao 1948)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le

from compress.contracts import BadInput, Data, Division, Model, Stage
from compress.stages._directions import directions_of
from compress.stages._linear_end import inputs_of, linear_end
from compress.system.progress import say

_REMEDY = "be fitted; set model.architecture: projected, with this network as its trunk"


@dataclass(frozen=True, kw_only=True)
class Discriminant(Stage):
    """Fit the linear layer that ends the network, and the classifier, to the training images in closed form.

    The layer maps its input to the directions in which the classes differ most, relative to the differences within
    them (Rao 1948; R. O. Duda, P. E. Hart, D. G. Stork, Pattern Classification, 2001, section 3.8.3). Nothing else of
    the network changes, so a trunk with pretrained weights needs no training. The network must end in a linear layer
    of at most C - 1 values for C training classes: ``model: {architecture: projected, dim: 9}`` for ten classes.

    The embedding knows the training classes and little else: images of other classes are told apart worse than by the
    layer's input. ``docs/smaller.md`` has measurements.

    Attributes:
        shrink: share by which the covariance within each class is moved towards a multiple of the identity;
            ``ledoit_wolf`` estimates it for each class, from features of unit variance (O. Ledoit, M. Wolf, "A
            well-conditioned estimator for large-dimensional covariance matrices", 2004).
    """

    trains: ClassVar[bool] = True

    shrink: Literal["ledoit_wolf"] | Annotated[float, Ge(0), Le(1)] = "ledoit_wolf"

    def check(self, model: Model) -> Model:
        layer, _, _ = linear_end(model, _REMEDY)
        if layer.out_channels > len(model.classes) - 1:
            raise BadInput(
                f"discriminant: {len(model.classes)} classes differ in {len(model.classes) - 1} directions, the "
                f"embedding has {layer.out_channels} values; set model.dim={len(model.classes) - 1} or less"
            )
        return replace(model, space=None)

    def check_data(self, division: Division) -> None:
        counts = np.unique(division.train, return_counts=True)[1]
        if len(counts) < 2 or counts.max() < 2:
            raise BadInput("discriminant: needs two classes, and one with two training images; add photographs")

    def run(self, model: Model, data: Data, *, seed: int, scratch: Path) -> Model:
        """The network with the fitted layer and classifier, in a new embedding space.

        Raises:
            BadInput: the images of every class give the same features, or fewer classes train than ``check`` counted.
        """
        model = replace(model, network=copy.deepcopy(model.network))
        layer, bias, classifier = linear_end(model, _REMEDY)
        features = inputs_of(model, layer, data.train.images)
        found = directions_of(features, data.train.labels, self.shrink)
        directions = found.directions[:, : layer.out_channels]
        if directions.shape[1] < layer.out_channels:
            raise BadInput(
                f"discriminant: the training images differ in {directions.shape[1]} directions, the embedding has "
                f"{layer.out_channels} values; set model.dim={directions.shape[1]} or less"
            )
        center = features.mean(axis=0)
        means = (found.means - center) @ directions
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(directions.T).reshape(layer.weight.shape))
            bias.copy_(torch.from_numpy(-center @ directions))
            # Within classes the embedding has unit covariance, so the nearest mean is the likeliest class.
            weight = torch.zeros(classifier.weight.shape, dtype=torch.float64)
            offset = torch.full(classifier.bias.shape, -1e9, dtype=torch.float64)  # of classes that do not train
            weight[found.classes] = torch.from_numpy(means)
            offset[found.classes] = torch.from_numpy(np.log(found.priors) - np.square(means).sum(axis=1) / 2)
            classifier.weight.copy_(weight)
            classifier.bias.copy_(offset)
        say(f"discriminant: {layer.out_channels} directions from {len(features):,} training images")
        line = {"stage": "discriminant", "images": len(features), "dim": layer.out_channels}
        return replace(model, history=(*model.history, line), space=None, ranges={})
