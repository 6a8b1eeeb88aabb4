"""Automatic augmentation of torchvision: TrivialAugment (arXiv:2103.10158) and RandAugment (arXiv:1909.13719)."""

from __future__ import annotations

from typing import Any, Literal

import torch

from compress.system.torchvision import import_torchvision

Policy = Literal["trivial", "rand"]


class AutoAugment:
    """Changes each image by random operations of the policy, with torchvision's defaults."""

    def __init__(self, policy: Policy) -> None:
        import_torchvision()
        from torchvision.transforms import v2

        self._transform: Any = v2.TrivialAugmentWide() if policy == "trivial" else v2.RandAugment()

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change uint8 images [N, H, W, 3]."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator, as dropout does
            torch.manual_seed(seed)
            changed = [self._transform(image) for image in images.permute(0, 3, 1, 2)]
        return torch.stack(changed).permute(0, 2, 3, 1).contiguous()
