"""How large a network is and how much it computes, by each definition that the papers use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

# Operations of batch normalisation for one value, as the profiler thop counts them: subtract the mean, divide by the
# deviation, multiply and add the affine parameters.
_OPERATIONS_PER_NORMALISED_VALUE = 4


@dataclass(frozen=True)
class Complexity:
    """Sizes of one network for one image.

    Attributes:
        params: trainable and fixed parameters; buffers such as running statistics are not parameters.
        macs: multiply-accumulates of the convolutions and linear layers, each time they are applied.
        paper_flops: OMCBIR's equation 5 summed over the convolutions.
        paper_params: OMCBIR's equation 6 summed over the convolutions.
        macs_with_batch_norm: ``macs`` plus 4 operations for each output value of batch normalisation. OMCBIR's FLOPs
            of 32 px images agree within 1.5 % (it names no method; its equation 5 does not give them).
    """

    params: int
    macs: int
    paper_flops: int
    paper_params: int
    macs_with_batch_norm: int


def count_parameters(module: nn.Module) -> int:
    """Count the parameters; shared ones are counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, input_size: tuple[int, int]) -> int:
    """Count the multiply-accumulates of convolutions and linear layers for one image of (H, W) pixels."""
    return complexity(module, input_size).macs


def complexity(module: nn.Module, input_size: tuple[int, int]) -> Complexity:
    """Run one black image of (H, W) pixels through the network in evaluation mode and count.

    The network's training flags are restored. Only modules are counted; arithmetic written as functions (attention's
    products and means) is not counted by any of the definitions.
    """
    counts = {"macs": 0, "paper_flops": 0, "normalised": 0}

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            per_position = layer.weight.numel()
            counts["macs"] += per_position * output.shape[2] * output.shape[3]
            pixels = inputs[0].shape[2] * inputs[0].shape[3]
            counts["paper_flops"] += 2 * pixels * (per_position + layer.out_channels)
        elif isinstance(layer, nn.Linear):
            counts["macs"] += layer.weight.numel() * output.numel() // layer.out_features
        elif isinstance(layer, nn.BatchNorm2d):
            counts["normalised"] += output.numel()

    weight = next(module.parameters())
    image = torch.zeros(1, 3, *input_size, dtype=weight.dtype, device=weight.device)
    hooks = [layer.register_forward_hook(count) for layer in module.modules()]
    try:
        with _evaluating(module), torch.no_grad():
            module(image)
    finally:
        for hook in hooks:
            hook.remove()
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return Complexity(
        params=count_parameters(module),
        macs=counts["macs"],
        paper_flops=counts["paper_flops"],
        paper_params=sum(convolution.weight.numel() for convolution in convolutions),
        macs_with_batch_norm=counts["macs"] + _OPERATIONS_PER_NORMALISED_VALUE * counts["normalised"],
    )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and afterwards restore each submodule's flag, which may differ from its parent's."""
    flags = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for layer, training in flags.items():
            layer.training = training
