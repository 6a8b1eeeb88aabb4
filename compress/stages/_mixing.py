"""Mixed images: mixup (Zhang et al. 2018, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Mixed:
    """What each image of a batch was mixed with.

    Attributes:
        partners: int64 [N], the row of the other image.
        share: share of the image itself, 0 to 1; the other image has the rest.
    """

    partners: torch.Tensor
    share: float

    def loss(self, own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """The loss on both labels."""
        return self.share * own + (1 - self.share) * others


@dataclass(frozen=True)
class Mixing:
    """Mixes every image of a batch with another one; if both are given, half of the batches get each.

    Attributes:
        mixup: alpha of the Beta distribution of the share; 0 does not mix.
        cutmix: the same for pasted rectangles.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, Mixed]:
        """Mix float32 [N, 3, H, W]."""
        random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        partners = torch.randperm(len(images), generator=generator).to(images.device)
        cuts = bool(self.cutmix) and (not self.mixup or random.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = float(random.beta(alpha, alpha))
        others = images[partners]
        if not cuts:
            return share * images + (1 - share) * others, Mixed(partners, share)
        H, W = images.shape[2:]
        side = (1 - share) ** 0.5
        y, x = random.integers(H), random.integers(W)
        half_h, half_w = round(side * H / 2), round(side * W / 2)
        top, bottom = max(0, y - half_h), min(H, y + half_h)
        left, right = max(0, x - half_w), min(W, x + half_w)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return mixed, Mixed(partners, 1 - (bottom - top) * (right - left) / (H * W))
