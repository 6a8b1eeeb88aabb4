"""Several networks side by side: their features, each of length 1, are concatenated and mapped to the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import nn

from architectures._network import linear_classifier
from architectures.layers.pyramid import unit
from compress.contracts import Architecture, BadInput, Normalisation
from compress.contracts.networks import RetrievalNetwork
from compress.options import build_named


@dataclass(frozen=True, kw_only=True)
class Ensemble(Architecture):
    """Gives the features of several networks as one embedding, a strong teacher without training.

    Every network sees the image as it is. If pretrained ones expect different normalisations, the image is normalised
    for each inside the network; ``data.mean`` and ``data.std`` are those of the first.

    Attributes:
        trunks: the networks, each as its name or ``{name: {options}}``.
        dim: D of the linear layer after the concatenated features, which the stage ``discriminant`` or
            ``whiten: {reduce: true}`` can fit in closed form.
    """

    trunks: tuple[str | Mapping[str, Any], ...] = ("alnet", "mobilenet_v1")
    dim: Annotated[int, Ge(1), Le(65536)] = 128

    def __post_init__(self) -> None:
        if len(self.trunks) < 2:
            raise BadInput(f"trunks: {len(self.trunks)} networks; name two or more, or take projected for one")
        for trunk in self._architectures():
            if "hamming" in trunk.distances:
                raise BadInput(f"trunks: {trunk.component_name()} gives hash codes; name a plain network")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        trunks = self._architectures()
        given = self.normalisation()
        maps = [_renormalisation(given, trunk.normalisation()) for trunk in trunks]
        return _Ensemble([trunk.build() for trunk in trunks], maps, self.dim, num_classes)

    def bare(self) -> Architecture:
        bare = [trunk.bare() for trunk in self._architectures()]
        return replace(self, trunks=tuple({trunk.component_name(): trunk.options()} for trunk in bare))

    def has_weights(self) -> bool:
        return any(trunk.has_weights() for trunk in self._architectures())

    def normalisation(self) -> Normalisation | None:
        return next((found for trunk in self._architectures() if (found := trunk.normalisation())), None)

    def _architectures(self) -> list[Architecture]:
        return [build_named(Architecture, trunk, f"trunks.{number}") for number, trunk in enumerate(self.trunks)]


class _Ensemble(RetrievalNetwork):
    """The networks with the map, scale and shift, from the image to what each expects; stored with the weights."""

    def __init__(
        self,
        trunks: list[RetrievalNetwork],
        maps: list[tuple[torch.Tensor, torch.Tensor]],
        dim: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        for number, (scale, shift) in enumerate(maps):
            self.register_buffer(f"scale{number}", scale)
            self.register_buffer(f"shift{number}", shift)
        # A convolution, because every converter and pruning support it.
        self.projection = nn.Conv2d(sum(trunk.embedding_dim for trunk in trunks), dim, 1)
        self.embedding_dim = dim
        self.classifier = linear_classifier(dim, num_classes)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        found = []
        for number, trunk in enumerate(self.trunks):
            own = x * self.get_buffer(f"scale{number}") + self.get_buffer(f"shift{number}")
            found.append(unit(trunk(own)[:, :, None, None]))
        embedding: torch.Tensor = self.projection(torch.cat(found, dim=1))
        return embedding.flatten(1)

    def linear_end(self) -> nn.Conv2d:
        return self.projection


def _renormalisation(given: Normalisation | None, wanted: Normalisation | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift, float32 [1, 3, 1, 1], from images normalised as ``given`` to images as ``wanted``."""
    given = given or ((0.0,) * 3, (1.0,) * 3)
    wanted = wanted or given
    mean, std, own_mean, own_std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (*given, *wanted))
    return std / own_std, (mean - own_mean) / own_std
