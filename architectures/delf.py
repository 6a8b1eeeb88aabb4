"""DELF: attentive local features (Noh et al., ICCV 2017, arXiv:1612.06321), as one graph of a fixed size.

The image pyramid is part of the network: the network resizes its input itself, so that a phone runs one file. The paper
keeps the features with the highest attention. Here the graph outputs all features in a fixed order, and matching
selects them by score: a selection inside the graph could differ between runtimes if scores are nearly equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import nn

from architectures._network import FeatureMapNetwork, PooledNetwork, build_trunk
from architectures.layers.pyramid import resized, unit
from compress.contracts import LOCAL_DIM, Architecture, BadInput, Distance, component_field
from compress.contracts.networks import RetrievalNetwork

_PACKED = LOCAL_DIM + 3


@dataclass(frozen=True, kw_only=True)
class Delf(Architecture):
    """Embeds images as L local features of 43 values, one after the other; ``validators.local_matching`` reads them.

    Each has 40 values of unit length (the feature after L2 normalisation, PCA and another L2 normalisation), the
    location (y, x) in [0, 1] and the attention score. Features are ordered by scale, then by position, row by row.

    Attributes:
        trunk: the network whose feature map is used; only its layers up to ``stride`` are kept.
        stride: pixels from one feature to the next; 16 in the paper.
        sizes: heights and widths in pixels of the image pyramid. The paper's has seven scales, 1/sqrt(2) apart.
        hidden: channels between the two convolutions of the attention; 512 in the paper.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("local",)

    trunk: Architecture = component_field(Architecture, default="mobilenet_v1")
    stride: Literal[8, 16, 32] = 16
    sizes: tuple[Annotated[int, Ge(32), Le(2048)], ...] = (128, 64)
    hidden: Annotated[int, Ge(1)] = 128

    def __post_init__(self) -> None:
        if not self.sizes:
            raise BadInput("sizes: is empty; give the height and width of at least one scale")
        for size in self.sizes:
            if size % self.stride:
                raise BadInput(f"sizes: {size} is not a multiple of the stride, {self.stride}; change either")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        return DelfNetwork(self, _up_to(build_trunk(self.trunk), self.stride), num_classes)


class DelfNetwork(RetrievalNetwork):
    """A DELF network; the stage ``delf`` sets ``reduction`` and trains ``attention``."""

    locations: torch.Tensor

    def __init__(self, options: Delf, trunk: FeatureMapNetwork, num_classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.sizes = options.sizes
        self.attention = nn.Sequential(
            nn.Conv2d(trunk.channels, options.hidden, 1), nn.ReLU(), nn.Conv2d(options.hidden, 1, 1), nn.Softplus()
        )
        self.reduction = nn.Conv2d(trunk.channels, LOCAL_DIM, 1)
        places = [_centres(size // options.stride) for size in options.sizes]
        self.register_buffer("locations", torch.cat(places)[None], persistent=False)
        self.embedding_dim = _PACKED * self.locations.shape[1]
        self.classifier = _WeightedSum(num_classes) if num_classes else None

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The feature map [N, C, h, w] of each scale."""
        return [self.trunk.feature_map(resized(x, size)) for size in self.sizes]

    def descriptors(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The features before PCA, [N, L, C] of unit length, and the scores [N, L]."""
        maps = self.maps(x)
        found, scores = ([_rows(f(each)) for each in maps] for f in (unit, self.attention))
        return torch.cat(found, 1), torch.cat(scores, 1)[..., 0]

    @torch.no_grad()
    def reduce_by(self, directions: torch.Tensor, centre: torch.Tensor) -> None:
        """Set ``reduction`` to a feature's coordinates along ``directions`` [40, C] relative to ``centre`` [C]."""
        assert self.reduction.bias is not None
        self.reduction.weight.copy_(directions[:, :, None, None].float())
        self.reduction.bias.copy_((-directions @ centre).float())

    def forget_attention(self) -> None:
        """Give attention and classifier fresh weights from PyTorch's global random generator."""
        for layer in (*self.attention, *([] if self.classifier is None else self.classifier.children())):
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm1d):
                layer.reset_parameters()

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        scales = []
        for features in self.maps(x):
            reduced = unit(self.reduction(unit(features)))
            scales.append((_rows(reduced), _rows(self.attention(features))))
        reduced, scores = (torch.cat(parts, 1) for parts in zip(*scales, strict=True))
        places = self.locations.expand_as(reduced[..., :2])
        return torch.cat((reduced, places, scores), 2).flatten(1)


class _WeightedSum(nn.Module):
    """Classifies packed features [N, L * 43] by their mean, weighted with the scores (section 3.2.1).

    Unlike in the paper the sum is normalised: unit vectors share a large common part, compared with which the
    differences between classes are small.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(LOCAL_DIM)
        self.linear = nn.Linear(LOCAL_DIM, num_classes)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        table = packed.unflatten(1, (-1, _PACKED))
        logits: torch.Tensor = self.linear(self.norm((table[..., :LOCAL_DIM] * table[..., -1:]).mean(1)))
        return logits


def _rows(features: torch.Tensor) -> torch.Tensor:
    """[N, C, h, w] -> [N, h * w, C]."""
    return features.flatten(2).transpose(1, 2)


def _centres(count: int) -> torch.Tensor:
    """The centres (y, x) of ``count`` x ``count`` cells, row by row: float32 [count², 2] in (0, 1)."""
    along = (torch.arange(count) + 0.5) / count
    return torch.cartesian_prod(along, along)


@torch.no_grad()
def _up_to(trunk: FeatureMapNetwork, stride: int) -> FeatureMapNetwork:
    """Cut the trunk after its last layer whose map has this stride.

    Raises:
        BadInput: there is no such layer, or its map has too few channels.
    """
    trunk.eval()
    image = torch.zeros(1, 3, 4 * stride, 4 * stride)
    found = trunk.feature_map(image)
    if found.shape[2] < 4 and isinstance(trunk, PooledNetwork) and isinstance(trunk.trunk, nn.Sequential):
        kept, features = 0, image
        while features.shape[2] >= 4:
            found, kept = features, kept + 1
            features = trunk.trunk[kept - 1](features)
        trunk.trunk = trunk.trunk[: kept - 1]
        trunk.channels = found.shape[1]
    if found.shape[2] != 4:
        raise BadInput(
            f"stride: no feature map here has stride {stride}, the last one's is {4 * stride // found.shape[2]}; "
            "change stride, or the trunk's own strides"
        )
    if trunk.channels < LOCAL_DIM:
        raise BadInput(
            f"trunk: {trunk.channels} channels at stride {stride}, fewer than the {LOCAL_DIM} that PCA keeps"
        )
    trunk.pool = nn.Identity()
    trunk.train()
    return trunk
