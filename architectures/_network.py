"""Base classes of networks that consist of a feature map and a pooling."""

from __future__ import annotations

import torch
from torch import nn

from architectures.layers.pyramid import resized, unit
from compress.contracts import Architecture, BadInput
from compress.contracts.networks import RetrievalNetwork


class FeatureMapNetwork(RetrievalNetwork):
    """Embeds images by pooling the last feature map; subclasses compute the map.

    Attributes:
        channels: C of the feature map as built.
        pool: feature map [N, C, h, w] -> [N, D, 1, 1].
    """

    channels: int
    pool: nn.Module

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised float32 [N, 3, H, W] -> the last feature map [N, C, h, w]."""
        raise NotImplementedError

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.pool(self.feature_map(x))
        return features.flatten(1)


class PooledNetwork(FeatureMapNetwork):
    """Embeds images by the mean over the positions of the last feature map.

    Attributes:
        trunk: [N, 3, H, W] -> feature map [N, D, h, w].
    """

    def __init__(self, trunk: nn.Module, embedding_dim: int, classifier: nn.Module | None) -> None:
        super().__init__()
        self.trunk = trunk
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.channels = self.embedding_dim = embedding_dim
        self.classifier = classifier

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.trunk(x)
        return features


class RepooledNetwork(FeatureMapNetwork):
    """Pools another network's last feature map in its own way; the other network's pooling is left out.

    Attributes:
        projection: linear map from pooled features to the embedding; the identity if the features are the embedding.
    """

    def __init__(
        self,
        trunk: FeatureMapNetwork,
        pool: nn.Module,
        features: int,
        dim: int | None,
        num_classes: int,
        sizes: tuple[int, ...] = (),
    ) -> None:
        """Join the parts.

        Args:
            features: number of values that ``pool`` gives.
            dim: D; None for no projection.
            sizes: heights and widths in pixels at which the image is pooled; the mean of these features, each of length
                1, is projected. Empty: the input's own size, and the features as they are.
        """
        super().__init__()
        self.sizes = sizes
        trunk.pool = nn.Identity()
        self.trunk = trunk
        self.pool = pool
        # A convolution, because every converter and pruning support it.
        self.projection = nn.Identity() if dim is None else nn.Conv2d(features, dim, 1)
        if isinstance(self.projection, nn.Conv2d) and dim == features:
            _become_identity(self.projection)
        self.channels = trunk.channels
        self.embedding_dim = dim or features
        self.classifier = linear_classifier(self.embedding_dim, num_classes)

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        return self.trunk.feature_map(x)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        if self.sizes:
            pooled = [unit(self.pool(self.feature_map(resized(x, size)))) for size in self.sizes]
            features = sum(pooled[1:], pooled[0]) / len(pooled)
        else:
            features = self.pool(self.feature_map(x))
        embedding: torch.Tensor = self.projection(features)
        return embedding.flatten(1)

    def linear_end(self) -> nn.Conv2d | None:
        return self.projection if isinstance(self.projection, nn.Conv2d) else None


@torch.no_grad()
def _become_identity(layer: nn.Conv2d) -> None:
    """Start without a change, so that ``freeze: [projection]`` trains the features themselves."""
    layer.weight.copy_(torch.eye(layer.out_channels)[:, :, None, None])
    assert layer.bias is not None
    layer.bias.zero_()


def build_trunk(trunk: Architecture) -> FeatureMapNetwork:
    """Build a headless network whose feature map is used.

    Raises:
        BadInput: the architecture does not end in a pooled feature map.
    """
    network = trunk.build()
    if not isinstance(network, FeatureMapNetwork):
        raise BadInput(
            f"trunk: {trunk.component_name()} has no feature map to pool; name a plain network such as alnet"
        )
    return network


def linear_classifier(embedding_dim: int, num_classes: int) -> nn.Linear | None:
    """Make a linear layer from embeddings to logits; None for 0 classes."""
    return nn.Linear(embedding_dim, num_classes) if num_classes else None
