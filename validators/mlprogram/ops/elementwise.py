"""Elementwise arithmetic, comparison, logic and casts, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from validators.mlprogram.ops._registry import operation

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": torch.clone,
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,  # halves to even, as NumPy
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,  # the sign of the divisor, as NumPy
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "real_div": torch.div,
    "sub": torch.sub,
}


def _register_unary(name: str) -> None:
    compute = _UNARY[name]

    @operation(name)
    def unary(x: Tensor) -> Tensor:
        return compute(x)


def _register_binary(name: str) -> None:
    compute = _BINARY[name]

    @operation(name)
    def binary(x: Tensor, y: Tensor) -> Tensor:
        return compute(x, y)


for _name in _UNARY:
    _register_unary(_name)
for _name in _BINARY:
    _register_binary(_name)


@operation("inverse")
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    return 1 / (x + epsilon)


@operation("log")
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    return torch.log(x + epsilon)


@operation("rsqrt")
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    return torch.rsqrt(x + epsilon)


@operation("clip")
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return x.clamp(alpha, beta)


@operation("threshold")
def threshold(x: Tensor, alpha: float) -> Tensor:
    return x.clamp(min=alpha)


@operation("select")
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond.bool(), a, b)


@operation("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    """To a number: the declared type of the output rounds it, integers towards zero. To bool: whether it is not 0."""
    if dtype == "bool":
        return x != 0
    return x.float() if dtype in ("fp16", "fp32") else x.to(torch.int64)
