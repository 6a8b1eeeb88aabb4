"""The interface every network here shares: an embedding, and a classifier that only training needs."""

from __future__ import annotations

import torch
from torch import nn


class RetrievalNetwork(nn.Module):
    """Base of every network.

    Attributes:
        embedding_dim: D.
        classifier: maps embeddings to logits; None when headless.
    """

    embedding_dim: int
    classifier: nn.Module | None

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised float32 [N, 3, H, W] -> embedding [N, D]."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes] with a classifier, the embedding [N, D] without."""
        embedding = self.embed(x)
        if self.classifier is None:
            return embedding
        logits: torch.Tensor = self.classifier(embedding)
        return logits


class PooledNetwork(RetrievalNetwork):
    """Embedding = mean over the positions of the last feature map.

    Attributes:
        trunk: [N, 3, H, W] -> feature map [N, D, h, w].
    """

    def __init__(self, trunk: nn.Module, embedding_dim: int, classifier: nn.Module | None) -> None:
        super().__init__()
        self.trunk = trunk
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.embedding_dim = embedding_dim
        self.classifier = classifier

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.pool(self.trunk(x))
        return features.flatten(1)


def linear_classifier(embedding_dim: int, num_classes: int) -> nn.Linear | None:
    """Embeddings -> logits; None for no classes."""
    return nn.Linear(embedding_dim, num_classes) if num_classes else None
