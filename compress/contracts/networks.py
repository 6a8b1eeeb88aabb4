"""The interface of every network: what stages, losses, pruning and exporters ask of one.

A class and no Protocol, because its users also need it to be an ``nn.Module``. This is the one contract that imports
PyTorch, so ``compress.contracts`` does not load it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class RetrievalNetwork(nn.Module):
    """An embedding, and a classifier that only training needs.

    Attributes:
        embedding_dim: D.
        classifier: maps embeddings [N, D] to logits [N, classes]; None when headless.
    """

    embedding_dim: int
    classifier: nn.Module | None

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised float32 [N, 3, H, W] -> embedding [N, D]."""
        raise NotImplementedError

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, D] -> the classifier's logits [N, classes]; [N, 0] when headless."""
        if self.classifier is None:
            return embeddings.new_zeros(len(embeddings), 0)
        logits: torch.Tensor = self.classifier(embeddings)
        return logits

    def prepare(self, images: Callable[[], torch.Tensor]) -> None:
        """Set, before the first training, what is set from images: ``images()`` is normalised float32 [N, 3, H, W]."""
        for part in self.children():
            if isinstance(part, RetrievalNetwork):
                part.prepare(images)

    def linear_end(self) -> nn.Conv2d | None:
        """The 1x1 convolution whose output is the embedding; None where the network ends in something else."""
        return None

    def code_layer(self) -> nn.Module | None:
        """The layer whose activations in [0, 1] are the embedding; None where it is no code."""
        return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes] with a classifier, the embedding [N, D] without."""
        embedding = self.embed(x)
        return embedding if self.classifier is None else self.logits(embedding)
