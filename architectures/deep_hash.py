"""Deep hashing: a trunk, a hash layer of K sigmoids and a classifier on these codes ("MobileNet deep hashing").

The paper's network is MobileNetV1 with K = 16, 32 or 64. Its table puts 1024 x 162 weights into the classifier, but
the text's classifier reads the hash layer: K x classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le, MultipleOf
from torch import nn

from architectures._network import linear_classifier
from architectures.layers.target_codes import TargetCodes
from compress.contracts import Architecture, BadInput, Distance, component_field
from compress.contracts.networks import RetrievalNetwork


@dataclass(frozen=True, kw_only=True)
class DeepHash(Architecture):
    """Embeds images as K activations in [0, 1]; bit i of the code is activation i > 0.5.

    Attributes:
        trunk: the network whose pooled feature the hash layer reads.
        bits: K, the length of a code.
        batch_norm: normalise before the sigmoid, as in OrthoHash but not in the paper: every bit is then 1 for about
            half of the images, and training starts where the sigmoid is steep.
        classifier: ``linear`` is learnt, as in the paper; ``orthogonal`` compares with one fixed +-1 code per class
            (OrthoHash, trained with ``loss: ortho_hash``), and its logits are cosines.
    """

    distances: ClassVar[tuple[Distance, ...]] = ("hamming",)

    trunk: Architecture = component_field(Architecture, default="mobilenet_v1")
    bits: Annotated[int, Ge(8), Le(4096), MultipleOf(8)] = 32
    batch_norm: bool = True
    classifier: Literal["linear", "orthogonal"] = "linear"

    def __post_init__(self) -> None:
        if "hamming" in self.trunk.distances:
            raise BadInput(f"trunk: {self.trunk.component_name()} has a hash layer of its own; name a plain network")

    def build(self, num_classes: int = 0) -> RetrievalNetwork:
        trunk = self.trunk.build()
        classifier: nn.Module | None = linear_classifier(self.bits, num_classes)
        if self.classifier == "orthogonal" and num_classes:
            classifier = TargetCodes(self.bits, num_classes)
        return _DeepHash(trunk, self.bits, self.batch_norm, classifier)


class _DeepHash(RetrievalNetwork):
    def __init__(self, trunk: RetrievalNetwork, bits: int, batch_norm: bool, classifier: nn.Module | None) -> None:
        super().__init__()
        self.trunk = trunk
        # The linear layer is a convolution, so that exporters can fold batch normalisation into it.
        linear = nn.Conv2d(trunk.embedding_dim, bits, 1, bias=not batch_norm)
        self.hash = nn.Sequential(linear, *([nn.BatchNorm2d(bits)] if batch_norm else []), nn.Sigmoid())
        self.embedding_dim = bits
        self.classifier = classifier

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        activations: torch.Tensor = self.hash(self.trunk(x)[:, :, None, None])
        return activations.flatten(1)

    def code_layer(self) -> nn.Module:
        return self.hash
