"""Wrap the deployed graph to take images in TFLite's order of axes."""

from __future__ import annotations

import torch
from torch import nn


class ChannelsLast(nn.Module):
    """forward(image uint8 [N, H, W, 3]) -> {"embedding": float32 [N, D]}; the signature has these names."""

    def __init__(self, deployed: nn.Module) -> None:
        super().__init__()
        self.deployed = deployed
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"embedding": self.deployed(image.permute(0, 3, 1, 2))}
