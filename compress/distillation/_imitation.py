"""How far a student's vectors are from its teacher's, through a learnt map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.contracts import Outputs


class Imitation(nn.Module):
    def __init__(self, distance: str, projection: nn.Module) -> None:
        super().__init__()
        self.distance = distance
        self.projection = projection

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        own: Tensor = self.projection(student.embeddings).float()
        right = teacher.embeddings.float()
        if self.distance == "cosine":
            return 1 - F.cosine_similarity(own, right).mean()
        return (own - right).square().sum() / right.square().sum().clamp(min=torch.finfo(right.dtype).tiny)
