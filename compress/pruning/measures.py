"""The sizes a pruning target can name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from architectures import complexity, count_parameters
from compress.contracts.networks import RetrievalNetwork

SIZES = ("params", "macs", "bytes")
_FP32 = 4


def measure(network: RetrievalNetwork, input_size: tuple[int, int]) -> Mapping[str, int]:
    """Compute the ``SIZES`` of a network for one image of (H, W) pixels.

    ``params`` and ``macs`` are those of bundle.json, with the classifier. ``bytes`` estimates the exported fp32 file as
    four bytes for each parameter of the headless network with batch normalisation folded, so that a scale and a shift
    become one bias; formats add their own overhead.
    """
    sizes = complexity(network, input_size)
    exported = sizes.params - (count_parameters(network.classifier) if network.classifier is not None else 0)
    exported -= sum(norm.num_features for norm in network.modules() if isinstance(norm, nn.BatchNorm2d) and norm.affine)
    return {"params": sizes.params, "macs": sizes.macs, "bytes": _FP32 * exported}
