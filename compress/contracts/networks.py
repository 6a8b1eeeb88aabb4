"""The interface of every network that stages, losses, pruning and exporters use.

It is a class and not a Protocol, because its users also need an ``nn.Module``. This is the only contract that imports
PyTorch, so ``compress.contracts`` does not load it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class RetrievalNetwork(nn.Module):
    """A network with an embedding, and a classifier that only training needs.

    Attributes:
        embedding_dim: D.
        classifier: maps embeddings [N, D] to logits [N, classes]; None if headless.
    """

    embedding_dim: int
    classifier: nn.Module | None

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Embed normalised images float32 [N, 3, H, W]: [N, D]."""
        raise NotImplementedError

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Classify embeddings [N, D]: logits [N, classes]; [N, 0] if headless."""
        if self.classifier is None:
            return embeddings.new_zeros(len(embeddings), 0)
        logits: torch.Tensor = self.classifier(embeddings)
        return logits

    def prepare(self, images: Callable[[], torch.Tensor]) -> None:
        """Set weights from images before the first training; ``images()`` gives normalised float32 [N, 3, H, W]."""
        for part in self.children():
            if isinstance(part, RetrievalNetwork):
                part.prepare(images)

    def linear_end(self) -> nn.Conv2d | None:
        """The 1x1 convolution whose output is the embedding; None if the network ends in another layer."""
        return None

    def code_layer(self) -> nn.Module | None:
        """The layer whose activations in [0, 1] are the embedding; None if the embedding is not a code."""
        return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes] with a classifier, the embedding [N, D] without."""
        embedding = self.embed(x)
        return embedding if self.classifier is None else self.logits(embedding)
