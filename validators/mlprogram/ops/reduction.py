"""Reductions over axes (all by default), and positions of extremes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from validators.mlprogram.ops._axes import normalised
from validators.mlprogram.ops._registry import Ints, operation


def _product(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Callable[[Tensor, Ints, bool], Tensor]] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "reduce_max": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "reduce_mean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "reduce_min": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "reduce_prod": _product,
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


def _register(name: str) -> None:
    reduce = _REDUCTIONS[name]

    @operation(name)
    def reduction(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        chosen = normalised(axes, x.ndim) if axes is not None else tuple(range(x.ndim))
        return reduce(x, chosen, keep_dims)


for _name in _REDUCTIONS:
    _register(_name)


@operation("reduce_argmax")
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    return x.argmax(axis, keepdim=keep_dims)


@operation("reduce_argmin")
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    return x.argmin(axis, keepdim=keep_dims)


@operation("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sums; ``exclusive`` leaves the element itself out, ``reverse`` starts from the end."""
    turned = x.flip(axis) if reverse else x
    sums = turned.cumsum(axis)
    if exclusive:
        sums = sums - turned
    return sums.flip(axis) if reverse else sums


@operation("topk")
def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    """The ``k`` largest (``ascending``: smallest), in order."""
    values, indices = x.topk(k, axis, largest=not ascending, sorted=True)
    return (values, indices) if return_indices else (values,)


@operation("argsort")
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)
