"""Random changes of a batch of images, drawn on the CPU so that every device sees the same images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """Random changes, each as strong as its attribute says; ``Training`` explains the fields of the same names."""

    horizontal_flip: bool = False
    random_crop: int = 0
    min_scale: float = 1.0
    rotation: float = 0.0
    color_jitter: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    erase: float = 0.0

    def __bool__(self) -> bool:
        return self != Augmentation()

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change normalised images float32 [N, 3, H, W] on any device; pixels outside the image or hidden are zero."""
        if self.horizontal_flip or self.random_crop or self.min_scale < 1 or self.rotation:
            images = self._moved(images, generator)
        if self.color_jitter:
            images = self._colored(images, generator)
        if self.blur:
            images = torch.lerp(images, _blurred(images, self.blur), _uniform(images, 0, 1, generator))
        if self.noise:
            strength = _uniform(images, 0, self.noise, generator)
            images = images + strength * torch.randn(images.shape, generator=generator).to(images.device)
        if self.erase:
            images = images * self._mask(images, generator)
        return images

    def _moved(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
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
        angle = uniform(-self.rotation, self.rotation).deg2rad() if self.rotation else torch.zeros(count)
        across, down = zoom * angle.cos(), zoom * angle.sin()
        affine = torch.zeros(count, 2, 3)
        affine[:, 0, 0] = torch.where(mirrored, -across, across)
        affine[:, 1, 0] = torch.where(mirrored, -down, down) * (width / height)
        affine[:, 0, 1] = -down * (height / width)
        affine[:, 1, 1] = across
        affine[:, :, 2] = shift
        grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _colored(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        most = self.color_jitter
        brightness = _uniform(images, -most, most, generator)
        contrast, saturation = (_uniform(images, 1 - most, 1 + most, generator) for _ in range(2))
        grey = images.mean(1, keepdim=True)
        return contrast * torch.lerp(grey.expand_as(images), images, saturation) + brightness

    def _mask(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """float32 [N, 1, H, W], 0 inside a rectangle of up to ``erase`` of the area and of sides 1:2 to 2:1."""
        area, turn = _uniform(images, 0, self.erase, generator), _uniform(images, -1, 1, generator)
        inside = torch.ones((), device=images.device)
        for axis, sign in ((2, 0.5), (3, -0.5)):
            positions = torch.linspace(0, 1, images.shape[axis], device=images.device)
            shape = [1, 1, 1, 1]
            shape[axis] = -1
            length = (area.sqrt() * 2 ** (turn * sign)).clamp(max=1)
            start = _uniform(images, 0, 1, generator) * (1 - length)
            place = positions.reshape(shape)
            inside = inside * ((place >= start) & (place <= start + length))
        return 1 - inside


def _uniform(images: torch.Tensor, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Draw one number per image between ``low`` and ``high``: float32 [N, 1, 1, 1]."""
    return torch.empty(len(images), 1, 1, 1).uniform_(low, high, generator=generator).to(images.device)


def _blurred(images: torch.Tensor, deviation: float) -> torch.Tensor:
    """Blur with a Gaussian of ``deviation`` pixels, cut off at three deviations; border pixels are repeated."""
    reach = max(1, min(round(3 * deviation), *(side - 1 for side in images.shape[2:])))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / deviation) ** 2)
    weights = (weights / weights.sum()).to(images.dtype).expand(3, 1, -1)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, weights[:, :, None, :], groups=3)
    return F.conv2d(rows, weights[:, :, :, None], groups=3)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random generator of one optimizer step; a resumed run draws the same numbers."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63 - 1))
