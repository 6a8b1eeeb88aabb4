"""A teacher's outputs for images that are normalised as the student's are."""

from __future__ import annotations

import copy

import torch
from torch.nn import functional as F

from compress.contracts import EmbeddingSpec, Model, Outputs, Preprocess
from compress.stages._graph import layout, renormalisation
from compress.stages._joined_teachers import JoinedTeachers


class Teacher:
    """The teacher's network, kept outside the graph's modules: its weights are not trained, penalised or saved."""

    def __init__(self, model: Model, student: Preprocess) -> None:
        network = copy.deepcopy(model.network).eval().requires_grad_(False)  # the student may start from it
        self.network = layout(network, torch.channels_last)
        self.spec = model.embedding
        self.scale, self.shift = renormalisation(student, model.preprocess)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Outputs:
        """The outputs for float32 [N, 3, H, W], normalised as the student's images are."""
        self.network.to(images.device)
        own = images * self.scale.to(images.device) + self.shift.to(images.device)
        if isinstance(self.network, JoinedTeachers):
            features = self.network.features(own)
            return Outputs(compared(self.network.reduced(features), self.spec), self.network.logits(features), features)
        embeddings = self.network.embed(own)
        given = compared(embeddings, self.spec)
        return Outputs(given, self.network.logits(embeddings), given)

    def dims(self) -> dict[str, int]:
        """Number of values of what the objectives compare, by ``Objective.of``."""
        joined = self.network if isinstance(self.network, JoinedTeachers) else None
        return {"embedding": self.spec.dim, "features": joined.features_dim if joined else self.spec.dim}


def compared(embeddings: torch.Tensor, spec: EmbeddingSpec) -> torch.Tensor:
    """The embeddings as artifacts give them."""
    return F.normalize(embeddings) if spec.distance == "cosine" else embeddings
