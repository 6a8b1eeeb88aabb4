"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from validators.mlprogram.ops._registry import operation


@operation("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias, ``weight`` [D_out, D_in]."""
    return F.linear(x, weight, bias)


@operation("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Matrix product over the last two axes, the others broadcast. Transposing has no effect on a vector."""
    x = x.mT if transpose_x and x.ndim > 1 else x
    y = y.mT if transpose_y and y.ndim > 1 else y
    return x @ y


@operation("einsum")
def einsum(values: tuple[Tensor, ...], equation: str) -> Tensor:
    """``nchw,nwhu->nchu`` and ``chw,whr->chr``, under any letters; sizes of 1 broadcast."""
    return torch.einsum(equation, *values)
