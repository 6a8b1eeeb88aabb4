"""NetVLAD pooling (Arandjelović et al., CVPR 2016, arXiv:1511.07247) over any network here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import nn
from torch.nn import functional as F

from architectures._network import RepooledNetwork, build_trunk
from compress.contracts import Architecture, Distance, component_field
from compress.contracts.networks import RetrievalNetwork

_RATIO = 100.0
"""Initial ratio, on average, of a descriptor's largest soft assignment to its second largest."""
_DESCRIPTORS = 20_000
_ROUNDS = 20


@dataclass(frozen=True, kw_only=True)
class NetVLAD(Architecture):
    """Embeds images by NetVLAD: ``clusters`` times the feature map's channels, or ``dim``, values.

    Before training, the cluster centres are set by k-means on descriptors of training images, so the trunk should have
    trained weights.

    Attributes:
        trunk: the network whose last feature map gives the descriptors, one at each position.
        clusters: K; 64 in the paper.
        dim: D of a linear layer after the pooling, whose weights the stage ``whiten`` can set (the paper's PCA); with
            None there is no such layer.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("cosine", "l2")

    trunk: Architecture = component_field(Architecture, default="mobilenet_v3")
    clusters: Annotated[int, Ge(2), Le(1024)] = 64
    dim: Annotated[int, Ge(1), Le(65536)] | None = None

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        trunk = build_trunk(self.trunk)
        pool = _Vlad(trunk.channels, self.clusters)
        return _NetVLAD(trunk, pool, trunk.channels * self.clusters, self.dim, num_classes)


class _NetVLAD(RepooledNetwork):
    pool: _Vlad

    def prepare(self, images: Callable[[], torch.Tensor]) -> None:
        if not self.pool.fitted:
            self.pool.fit(self.feature_map(images()))


class _Vlad(nn.Module):
    """Pools a feature map [N, C, h, w] to unit vectors [N, K * C, 1, 1].

    V(k) = sum_i softmax_k(w_k . x_i + b_k) (x_i - c_k) over the positions i (eq. 4 there) with descriptors x_i of unit
    length; each V(k) is then L2-normalised, and so is the whole (section 3.1). w, b and c are learnt independently.

    Attributes:
        fitted: whether the centres were set from images; stored with the weights.
    """

    fitted: torch.Tensor

    def __init__(self, channels: int, clusters: int) -> None:
        super().__init__()
        self.assign = nn.Conv2d(channels, clusters, 1)
        self.centres = nn.Parameter(torch.empty(clusters, channels))
        self.register_buffer("fitted", torch.tensor(False))
        self._set(F.normalize(torch.randn(clusters, channels), dim=1), alpha=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.normalize(x, dim=1)
        shares = self.assign(x).softmax(dim=1).flatten(2)  # [N, K, h * w]
        sums = shares @ x.flatten(2).transpose(1, 2)
        residuals = sums - self.centres * shares.sum(dim=2, keepdim=True)
        vlad = F.normalize(residuals, dim=2).flatten(1)
        return F.normalize(vlad, dim=1)[:, :, None, None]

    @torch.no_grad()
    def fit(self, features: torch.Tensor) -> None:
        """Set the centres by k-means on the descriptors of a feature map [N, C, h, w]; the result is deterministic."""
        x = F.normalize(features, dim=1).permute(0, 2, 3, 1).flatten(0, 2)
        generator = torch.Generator().manual_seed(0)
        x = x[torch.randperm(len(x), generator=generator)[:_DESCRIPTORS].to(x.device)]
        clusters = len(self.centres)
        centres, squared = x[:1], torch.full((len(x),), math.inf, device=x.device)
        while len(centres) < clusters:  # k-means++ (Arthur and Vassilvitskii 2007)
            squared = torch.minimum(squared, (x - centres[-1]).square().sum(dim=1))
            drawn = torch.multinomial(squared.cpu() + 1e-12, 1, generator=generator)
            centres = torch.cat([centres, x[drawn.to(x.device)]])
        for _ in range(_ROUNDS):
            nearest = torch.cdist(x, centres).argmin(dim=1)
            counts = torch.zeros(clusters, device=x.device).index_add_(0, nearest, torch.ones_like(x[:, 0]))
            sums = torch.zeros_like(centres).index_add_(0, nearest, x)
            centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        first, second = torch.cdist(x, centres).square().topk(2, dim=1, largest=False).values.unbind(1)
        gap = (second - first).mean().clamp(min=1e-6)
        self._set(centres, alpha=math.log(_RATIO) / float(gap))
        self.fitted.fill_(True)

    @torch.no_grad()
    def _set(self, centres: torch.Tensor, alpha: float) -> None:
        """Set the weights by eq. 3 there: softmax(-alpha |x - c_k|^2) has w_k = 2 alpha c_k, b_k = -alpha |c_k|^2."""
        assert self.assign.bias is not None
        self.centres.copy_(centres)
        self.assign.weight.copy_(2 * alpha * centres[:, :, None, None])
        self.assign.bias.copy_(-alpha * centres.square().sum(dim=1))
