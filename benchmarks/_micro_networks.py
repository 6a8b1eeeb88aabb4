"""Small networks around one kind of operation each: layers, pools, resizes, normalisations and attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

Between = Callable[[torch.Tensor], torch.Tensor]


class Micro(nn.Module):
    """conv -> BN -> ReLU -> the operation on a map [N, 8, h, w] -> conv -> mean, float32 [N, 16].

    Attributes:
        outputs: channels that the operation gives.
    """

    def __init__(self, between: nn.Module | Between, outputs: int = 8) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.between, self.last = between, nn.Conv2d(outputs, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.between(torch.relu(self.norm(self.first(x)))))
        return found.mean((2, 3))


class OnTokens(nn.Module):
    """Applies a layer to [N, h * w, 8]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.layer(x.flatten(2).transpose(1, 2))
        return found.transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixed = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.mixed(x).reshape(x.shape[0], x.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        return attended.transpose(1, 2).reshape(x.shape)


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))


class Branches(nn.Module):
    """RepVGG's block."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 1)
        self.own = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.large(x) + self.small(x) + self.own(x))


class SizeDependent(nn.Module):
    """Its control flow depends on the size of the map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] > x.shape[3]:
            return x.flip(2)
        return F.pad(x, (0, 1)) if x.shape[3] % 2 else x


def _resized(**options: object) -> Between:
    class Resize(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = F.interpolate(x, **options)  # type: ignore[arg-type]
            return found

    return Resize()


MICRO: Mapping[str, Callable[[], Micro]] = {
    "conv": lambda: Micro(nn.Conv2d(8, 8, 3, padding=1, dilation=1)),
    "conv, dilated": lambda: Micro(nn.Conv2d(8, 8, 3, padding=2, dilation=2)),
    "conv, grouped": lambda: Micro(nn.Conv2d(8, 12, 3, padding=1, groups=4), 12),
    "conv, depthwise": lambda: Micro(nn.Conv2d(8, 16, 5, 2, 2, groups=8), 16),
    "conv, reflecting": lambda: Micro(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")),
    "conv, circular": lambda: Micro(nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")),
    "conv, same": lambda: Micro(nn.Conv2d(8, 8, 4, padding="same")),
    "conv transposed": lambda: Micro(nn.ConvTranspose2d(8, 8, 3, 2, 1, output_padding=1)),
    "linear": lambda: Micro(OnTokens(nn.Linear(8, 8))),
    "max pool": lambda: Micro(nn.MaxPool2d(3, 2, padding=1)),
    "max pool, ceil": lambda: Micro(nn.MaxPool2d(3, 2, ceil_mode=True)),
    "average pool": lambda: Micro(nn.AvgPool2d(3, 2, padding=1)),
    "average pool, ceil": lambda: Micro(nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)),
    "average pool, border": lambda: Micro(nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
    "adaptive average pool": lambda: Micro(nn.AdaptiveAvgPool2d((3, 5))),
    "adaptive max pool": lambda: Micro(nn.AdaptiveMaxPool2d(3)),
    "power mean pool": lambda: Micro(nn.LPPool2d(2, 2)),
    "nearest, twice": lambda: Micro(_resized(scale_factor=2)),
    "nearest, odd": lambda: Micro(_resized(size=(17, 23))),
    "bilinear": lambda: Micro(_resized(size=(17, 23), mode="bilinear")),
    "bilinear, corners": lambda: Micro(_resized(size=(17, 23), mode="bilinear", align_corners=True)),
    "bilinear, antialias": lambda: Micro(_resized(size=(9, 11), mode="bilinear", antialias=True)),
    "bicubic": lambda: Micro(_resized(size=(17, 23), mode="bicubic")),
    "layer norm": lambda: Micro(OnTokens(nn.LayerNorm(8))),
    "group norm": lambda: Micro(nn.GroupNorm(2, 8)),
    "instance norm": lambda: Micro(nn.InstanceNorm2d(8, affine=True)),
    "RMS norm": lambda: Micro(OnTokens(nn.RMSNorm(8))),
    "local response norm": lambda: Micro(nn.LocalResponseNorm(3)),
    "L2 norm": lambda: Micro(lambda x: F.normalize(x, dim=1)),
    "batch norm alone": lambda: Micro(nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(8))),
    "squeeze and excite": lambda: Micro(SqueezeExcite()),
    "self-attention": lambda: Micro(OnTokens(SelfAttention())),
    "multi-head attention": lambda: Micro(OnTokens(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True))),
    "LSTM": lambda: Micro(OnTokens(nn.Sequential(nn.Linear(8, 8), _First(nn.LSTM(8, 8, batch_first=True))))),
    "branches": lambda: Micro(Branches()),
    "size-dependent": lambda: Micro(SizeDependent()),
    "slice of everything": lambda: Micro(lambda x: x[:, :8, :, :]),
    "pixel shuffle": lambda: Micro(nn.PixelShuffle(2), 2),
    "pixel unshuffle": lambda: Micro(nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.PixelUnshuffle(2)), 32),
    "channel shuffle": lambda: Micro(nn.ChannelShuffle(2)),
    "GELU, tanh": lambda: Micro(nn.GELU(approximate="tanh")),
    "GELU": lambda: Micro(nn.GELU()),
    "SiLU": lambda: Micro(nn.SiLU()),
    "Mish": lambda: Micro(nn.Mish()),
    "ELU": lambda: Micro(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ELU())),
    "PReLU": lambda: Micro(nn.Sequential(nn.Conv2d(8, 8, 1), nn.PReLU(8))),
    "hard swish": lambda: Micro(nn.Hardswish()),
    "hard sigmoid": lambda: Micro(nn.Hardsigmoid()),
    "softmax": lambda: Micro(nn.Softmax2d()),
    "reflection pad": lambda: Micro(nn.ReflectionPad2d(2)),
    "replication pad": lambda: Micro(nn.ReplicationPad2d((1, 2, 3, 0))),
    "zero pad": lambda: Micro(nn.ZeroPad2d((0, 1, 0, 1))),
}
"""Name -> a function that makes the network with fresh weights."""


class _First(nn.Module):
    """The first of the outputs of a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]  # type: ignore[no-any-return]
