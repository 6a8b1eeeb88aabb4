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
"""Squared distance, in units of the mean squared distance from the centre, up to which float32 tells no direction."""


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
    """The Huber loss between the student's and the teacher's relations of all pairs and triples (section 3.2 there).

    The relation of a pair is its distance, in units of the batch's mean distance; that of a triple is the cosine of the
    angle at the middle image. Sums are means here, over all N² and N³, as in the authors' code. The dimensions may
    differ. A rotation, shift or scale of the embeddings costs nothing.

    Attributes:
        angle: weight of the angles, with 1 for the distances; 2 there. 0 saves N³ numbers.
    """

    angle: Annotated[float, Ge(0)] = 2.0

    def build(self, student_dim: int, teacher_dim: int) -> nn.Module:
        return _Relations(self.angle)


def _products(embeddings: Tensor) -> Tensor:
    """Inner products [N, N] about the batch's centre, in units of their mean diagonal: no relation changes by that."""
    centred = embeddings.float() - embeddings.float().mean(dim=0)
    scale = centred.detach().square().sum(dim=1).mean().sqrt()
    standard = centred / scale.clamp(min=torch.finfo(scale.dtype).tiny)
    return standard @ standard.T


def _squared_distances(products: Tensor) -> Tensor:
    squares = products.diagonal()
    return squares[:, None] + squares[None, :] - 2 * products


def _distances(products: Tensor) -> Tensor:
    """The distance-wise potential of every pair, [N, N]; its unit, mu, is the mean over pairs of different images."""
    different = ~torch.eye(len(products), dtype=torch.bool, device=products.device)
    distances = _squared_distances(products).clamp(min=_SAME).sqrt()
    return distances / distances[different].mean() * different


def _angles(products: Tensor) -> Tensor:
    """The angle-wise potential of every triple, [N, N, N]: at [j, i, k] the cosine of the angle from i by j to k.

    (t_i - t_j)(t_k - t_j) is written with inner products, so that no [N, N, D] differences are held; 0 stands where
    two of them are one point.
    """
    squared, own = _squared_distances(products), products.diagonal()
    inverse = torch.where(squared > _SAME, squared.clamp(min=_SAME).rsqrt(), 0.0)
    inner = products[None, :, :] - products[:, :, None] - products[:, None, :] + own[:, None, None]
    return inner * inverse[:, :, None] * inverse[:, None, :]
