"""Distances and angles between the images of a batch (relational knowledge distillation, Park et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from compress.contracts import Objective, Outputs

_SAME = 1e-6
"""Squared distance, relative to the mean squared distance from the centre, below which float32 has no direction."""


class _Relations(nn.Module):
    def __init__(self, angle: float) -> None:
        super().__init__()
        self.angle = angle

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        # Half precision would lose the differences of close embeddings.
        with torch.autocast(student.embeddings.device.type, enabled=False):
            own, right = _products(student.embeddings), _products(teacher.embeddings)
            distances = F.smooth_l1_loss(_distances(own), _distances(right))
            if not self.angle:
                return distances
            return distances + self.angle * F.smooth_l1_loss(_angles(own), _angles(right))


@dataclass(frozen=True, kw_only=True)
class Relational(Objective):
    """Match the relations of all pairs and triples of images to the teacher's, by the Huber loss (section 3.2 there).

    The relation of a pair is its distance divided by the batch's mean distance; that of a triple is the cosine of the
    angle at the middle image. The loss is the mean over all N² pairs and N³ triples, as in the authors' code, instead
    of the paper's sum. The dimensions may differ. Rotating, shifting or scaling the embeddings does not change the
    loss.

    Attributes:
        angle: weight of the angles relative to the distances; 2 in the paper. 0 saves the memory of N³ numbers.
    """

    angle: Annotated[float, Ge(0)] = 2.0

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        return _Relations(self.angle)


def _products(embeddings: Tensor) -> Tensor:
    """Inner products [N, N] of the centred batch, divided by their mean diagonal; this changes no relation."""
    centred = embeddings.float() - embeddings.float().mean(dim=0)
    scale = centred.detach().square().sum(dim=1).mean().sqrt()
    standard = centred / scale.clamp(min=torch.finfo(scale.dtype).tiny)
    return standard @ standard.T


def _squared_distances(products: Tensor) -> Tensor:
    squares = products.diagonal()
    return squares[:, None] + squares[None, :] - 2 * products


def _distances(products: Tensor) -> Tensor:
    """The distance-wise potential of every pair, [N, N], in units of mu, the mean over pairs of different images."""
    different = ~torch.eye(len(products), dtype=torch.bool, device=products.device)
    distances = _squared_distances(products).clamp(min=_SAME).sqrt()
    return distances / distances[different].mean() * different


def _angles(products: Tensor) -> Tensor:
    """The angle-wise potential of every triple, [N, N, N]: at [j, i, k] the cosine of the angle from i by j to k.

    (t_i - t_j)(t_k - t_j) is computed from inner products, so that no [N, N, D] differences are stored; the value is 0
    where two of the three points are equal.
    """
    squared, own = _squared_distances(products), products.diagonal()
    inverse = torch.where(squared > _SAME, squared.clamp(min=_SAME).rsqrt(), 0.0)
    inner = products[None, :, :] - products[:, :, None] - products[:, None, :] + own[:, None, None]
    return inner * inverse[:, :, None] * inverse[:, None, :]
