"""Random flips, shifts and zooms of a uint8 batch, drawn on the CPU so that every device sees the same images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """Attributes: see the fields of the same names of ``Train``."""

    horizontal_flip: bool
    random_crop: int
    min_scale: float

    def __bool__(self) -> bool:
        return self.horizontal_flip or self.random_crop > 0 or self.min_scale < 1

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Images float32 [N, 3, H, W] on any device -> the same shape; outside the image is zero."""
        count, _, height, width = images.shape

        def uniform(low: float, high: float) -> torch.Tensor:
            return torch.empty(count).uniform_(low, high, generator=generator)

        # An affine map per image from output to input coordinates, both in [-1, 1]: zoom about a random centre.
        zoom = uniform(self.min_scale, 1.0).sqrt()
        room = 1 - zoom
        shift = torch.empty(count, 2).uniform_(-1, 1, generator=generator) * room[:, None]
        if self.random_crop:
            pixels = torch.randint(-self.random_crop, self.random_crop + 1, (count, 2), generator=generator)
            shift += pixels * torch.tensor([2 / width, 2 / height])
        mirrored = uniform(0, 1) < 0.5 if self.horizontal_flip else torch.zeros(count, dtype=torch.bool)
        affine = torch.zeros(count, 2, 3)
        affine[:, 0, 0] = torch.where(mirrored, -zoom, zoom)
        affine[:, 1, 1] = zoom
        affine[:, :, 2] = shift
        grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def step_generator(seed: int, step: int) -> torch.Generator:
    """Random numbers of one optimizer step, the same after a resume."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63 - 1))
