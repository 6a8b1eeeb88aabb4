"""Measure a network with a few labelled images: gradients of the loss, accuracy, embeddings."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from compress.contracts import ImageSet, Model
from compress.contracts.networks import RetrievalNetwork
from compress.data.batches import batches

_BATCH = 64


@dataclass(frozen=True)
class Answers:
    """A network's answers for N images.

    Attributes:
        embeddings: float32 [N, D].
        right: bool [N], whether the class is correct; always False for a headless network.
    """

    embeddings: torch.Tensor
    right: torch.Tensor


def with_gradients(model: Model, images: ImageSet, count: int) -> RetrievalNetwork:
    """Copy the network and compute the gradients of the mean cross-entropy, in evaluation mode.

    The mean is over the first ``count`` images of a fixed random order.
    """
    network = copy.deepcopy(model.network).eval()
    chosen = _some(images, count)
    for pictures, labels in batches(images, _BATCH, chosen):
        logits = network.logits(network.embed(_normalised(model, pictures)))
        (F.cross_entropy(logits, torch.from_numpy(labels), reduction="sum") / len(chosen)).backward()
    return network


@torch.no_grad()
def answers(network: RetrievalNetwork, model: Model, images: ImageSet, count: int) -> Answers:
    """Run ``network``, a variant of ``model``'s, on the first ``count`` images of a fixed random order."""
    network.eval()
    embeddings, right = [], []
    for pictures, labels in batches(images, _BATCH, _some(images, count)):
        embeddings.append(network.embed(_normalised(model, pictures)))
        logits = network.logits(embeddings[-1])
        right.append(logits.argmax(1) == torch.from_numpy(labels))
    return Answers(torch.cat(embeddings), torch.cat(right))


def _some(images: ImageSet, count: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(0)).permutation(len(images))[:count]


def _normalised(model: Model, images: np.ndarray) -> torch.Tensor:
    """Normalise images for the network: uint8 [n, H, W, 3] -> float32 [n, 3, H, W]."""
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (model.preprocess.mean, model.preprocess.std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
