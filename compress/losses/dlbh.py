"""Deep learning of binary hash codes (Lin, Yang, Hsiao, Chen; CVPR workshops 2015, section 3.2): "DLBH"."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from compress.contracts import BadInput
from compress.contracts.networks import RetrievalNetwork
from compress.losses.cross_entropy import CrossEntropy


@dataclass(frozen=True, kw_only=True)
class Dlbh(CrossEntropy):
    """Softmax cross-entropy of a linear classifier on the latent layer's sigmoids, without further terms.

    L = -1/N sum_n log softmax(W a_n + c)[y_n], where a_n in [0, 1]^K are the activations that become the code. Unlike
    ``ssdh``, it has no term for activations near 0 or 1 or for balanced bits. The published layer has no batch
    normalisation (``model.batch_norm: false``).
    """

    def check(self, network: RetrievalNetwork) -> None:
        if network.code_layer() is None or not isinstance(network.classifier, nn.Linear):
            raise BadInput(
                "loss: dlbh needs a linear classifier on activations in [0, 1]; set model.architecture: deep_hash and "
                "model.classifier: linear"
            )
