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
        return embedding if self.classifier is None else self.classifier(embedding)
