"""Activations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from validators.mlprogram.ops._axes import per_channel
from validators.mlprogram.ops._registry import operation


@operation("relu")
def relu(x: Tensor) -> Tensor:
    return x.relu()


@operation("relu6")
def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


@operation("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x >= 0, x, alpha * x)


@operation("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """``alpha`` [C] belongs to axis 1."""
    return torch.where(x > 0, x, per_channel(alpha, x.ndim) * x)


@operation("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


@operation("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """A leaky ReLU of slope ``alpha``, at most ``beta``."""
    return torch.where(x >= 0, x, alpha * x).clamp(max=beta)


@operation("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(x))


@operation("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


@operation("silu")
def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


@operation("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


@operation("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


@operation("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


@operation("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


@operation("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return x.softmax(axis)


@operation("softplus")
def softplus(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(-x.abs())) + x.relu()


@operation("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha · log(1 + exp(beta · x)), both [C] along axis 1."""
    return per_channel(alpha, x.ndim) * softplus(per_channel(beta, x.ndim) * x)


@operation("softsign")
def softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())
